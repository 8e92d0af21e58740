//! Pure. The only ways by which a recorded text gets into the page.

use std::fmt::{self, Write as _};

use crate::replay::visible::{Piece, pieces};

/// A text as one line: what would be obeyed or hidden is visible, and nothing of it is markup.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in pieces(self.0) {
            match piece {
                Piece::Plain(plain) => plain_text(plain, f)?,
                Piece::Escaped(escape) => {
                    f.write_str("<span class=\"esc\">")?;
                    plain_text(&escape, f)?;
                    f.write_str("</span>")?;
                }
            }
        }
        Ok(())
    }
}

/// A text with its own line breaks, each line an element of its own: no line passes for another.
pub(super) struct Lines<'a>(pub(super) &'a str);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.split('\n') {
            let line = line.replace('\t', "    ");
            writeln!(f, "<span class=\"line\">{}</span>", Text(&line))?;
        }
        Ok(())
    }
}

/// Within an attribute's quotes: as `Text`, without elements.
pub(crate) struct Attribute<'a>(pub(crate) &'a str);

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        plain_text(&crate::replay::visible(self.0), f)
    }
}

fn plain_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' => f.write_str("&quot;")?,
            '\'' => f.write_str("&#39;")?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup_and_nothing_hides() {
        for (text, shown) in [
            ("plain 漢 ü", "plain 漢 ü"),
            (
                "</script><b a='\"'>&amp;",
                "&lt;/script&gt;&lt;b a=&#39;&quot;&#39;&gt;&amp;amp;",
            ),
            ("a\u{202e}b", "a<span class=\"esc\">\\u{202e}</span>b"),
            (
                "\x1b]52;c\x07",
                "<span class=\"esc\">\\x1b</span>]52;c<span class=\"esc\">\\x07</span>",
            ),
            ("\\x1b", "\\x1b"),
        ] {
            assert_eq!(Text(text).to_string(), shown);
        }
        assert_eq!(Attribute("\"\r>").to_string(), "&quot;\\r&gt;");
        assert_eq!(
            Lines("a\r\n\t<").to_string(),
            "<span class=\"line\">a<span class=\"esc\">\\r</span></span>\n<span class=\"line\">    &lt;</span>\n"
        );
    }

    #[test]
    fn any_text_leaves_no_bracket_or_quote_of_its_own() {
        bolero::check!()
            .with_type::<String>()
            .for_each(|text: &String| {
                let shown = Text(text).to_string();
                let bare = shown
                    .replace("<span class=\"esc\">", "")
                    .replace("</span>", "");
                assert!(!bare.contains(['<', '>', '"', '\'']), "{bare}");
                assert!(
                    !Attribute(text)
                        .to_string()
                        .contains(['<', '>', '"', '\'', '\n'])
                );
            });
    }
}
