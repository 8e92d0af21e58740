//! What may be given to the second parser: it recurses, and it tries again.

use sqlparser::tokenizer::{Token, TokenWithSpan};

/// How deep its own recursion may go before it gives up. The first parser's tree is bounded more
/// narrowly; parentheses, which leave no node in that, count here.
pub(super) const DEPTH: usize = 100;

/// Tokens that can make its tree deeper. Beyond it, dropping the tree would need a stack nobody
/// has to spare.
const MOST_LINKS: usize = 20_000;
/// The sum of the depths of all brackets: what it tries, fails at and tries again grows with it.
const MOST_NESTING: usize = 20_000;

/// The stack that one level of its recursion takes at the most, and one link of a chain when it is
/// dropped. Measured: some 44 KiB and 280 bytes without optimisation.
const FRAME: usize = if cfg!(debug_assertions) {
    64 << 10
} else {
    24 << 10
};
const LINK: usize = 1 << 10;
/// What every thread that analyses has left: the smallest stack is 2 MiB.
const AT_HAND: usize = 1 << 20;

/// How deep the tree of a text can become.
pub(super) struct Bounds {
    links: usize,
}

impl Bounds {
    /// The bounds of a text, or why it is too much.
    pub(super) fn of(tokens: &[TokenWithSpan]) -> Result<Bounds, &'static str> {
        let mut links = 0;
        let (mut depth, mut nesting) = (0_usize, 0_usize);
        for token in tokens {
            match token.token {
                Token::LParen | Token::LBracket | Token::LBrace => {
                    depth += 1;
                    nesting = nesting.saturating_add(depth);
                    links += 1;
                }
                Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
                // These end something or are leaves.
                Token::Whitespace(_)
                | Token::Comma
                | Token::SemiColon
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Placeholder(_) => {}
                _ => links += 1,
            }
        }
        if nesting > MOST_NESTING || links > MOST_LINKS {
            return Err("it is too long or too nested for the second parser");
        }
        Ok(Bounds { links })
    }

    /// The bytes of stack that parsing it can take, where that is more than is at hand.
    pub(super) fn own_stack(&self) -> Option<usize> {
        let needed = self.links.min(DEPTH) * FRAME + self.links * LINK;
        (needed > AT_HAND).then_some(needed + AT_HAND)
    }
}
