//! Pure. The only way by which a recorded text gets onto the screen, and the colours.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use crate::replay::told::Ruled;
use crate::replay::visible::{Piece, pieces};

pub(super) const PLAIN: Style = Style::new();
pub(super) const SOFT: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub(super) const GOOD: Style = Style::new().fg(Color::Green);
pub(super) const WARN: Style = Style::new().fg(Color::Yellow);
pub(super) const MASKED: Style = Style::new().fg(Color::Magenta);
pub(super) const LINK: Style = Style::new().fg(Color::Cyan);
/// What stands for a character that is not shown itself.
const ESCAPE: Style = Style::new()
    .fg(Color::Magenta)
    .add_modifier(Modifier::UNDERLINED);

/// A decision's sign, word and colour: no meaning hangs on the colour alone.
pub(super) fn ruled(ruled: Ruled) -> (&'static str, &'static str, Style) {
    match ruled {
        Ruled::Allowed => ("✓", "ALLOWED", GOOD),
        Ruled::Observed => ("◌", "OBSERVED", WARN),
        Ruled::Held => ("◆", "HELD", WARN),
        Ruled::Denied => ("✗", "DENIED", BAD),
    }
}

/// A line of the page. One that is wide is not broken, but moved sideways.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) line: Line<'static>,
    pub(super) wide: bool,
}

/// Parts of a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Ink {
    spans: Vec<Span<'static>>,
    width: usize,
}

impl Ink {
    /// Adds a text. What would be obeyed or hidden is written out, in another colour; where `term`
    /// (in lower case) stands, it is set off.
    pub(super) fn say(mut self, text: &str, style: Style, term: &str) -> Self {
        for piece in pieces(text) {
            match piece {
                Piece::Escaped(escape) => self.put(&escape, style.patch(ESCAPE)),
                Piece::Plain(plain) => self.plain(plain, style, term),
            }
        }
        self
    }

    fn plain(&mut self, text: &str, style: Style, term: &str) {
        let lower = text.to_lowercase();
        // Where lower case is of another length, places do not carry over.
        if term.is_empty() || lower.len() != text.len() {
            return self.put(text, style);
        }
        let mut from = 0;
        for (at, found) in lower.match_indices(term) {
            let (Some(before), Some(here)) = (text.get(from..at), text.get(at..at + found.len()))
            else {
                break;
            };
            self.put(before, style);
            self.put(here, style.add_modifier(Modifier::REVERSED));
            from = at + found.len();
        }
        self.put(text.get(from..).unwrap_or_default(), style);
    }

    fn put(&mut self, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        self.width += width(text);
        self.spans.push(Span::styled(text.to_owned(), style));
    }

    /// Spaces up to a width.
    pub(super) fn pad(mut self, to: usize) -> Self {
        if self.width < to {
            self.put(&" ".repeat(to - self.width), PLAIN);
        }
        self
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }

    /// As a row that is moved sideways.
    pub(super) fn wide(self) -> Row {
        Row {
            line: self.line(),
            wide: true,
        }
    }

    /// As rows of at most `width` columns, broken behind spaces where there are any; each begins with
    /// `bar`.
    pub(super) fn wrap(self, width: usize, bar: &str) -> Vec<Row> {
        let room = width.saturating_sub(self::width(bar)).max(8);
        let mut rows = Vec::new();
        let mut line: Vec<(char, Style)> = Vec::new();
        let mut used = 0;
        let flush = |line: &mut Vec<(char, Style)>, rows: &mut Vec<Row>| {
            let mut spans = vec![Span::styled(bar.to_owned(), SOFT)];
            let mut text = String::new();
            let mut last = PLAIN;
            for (c, style) in line.drain(..) {
                if style != last && !text.is_empty() {
                    spans.push(Span::styled(std::mem::take(&mut text), last));
                }
                last = style;
                text.push(c);
            }
            if !text.is_empty() {
                spans.push(Span::styled(text, last));
            }
            rows.push(Row {
                line: Line::from(spans),
                wide: false,
            });
        };
        for span in self.spans {
            for c in span.content.chars() {
                let wide = c.width().unwrap_or(0);
                if used + wide > room {
                    // Behind a space; or within a long name, behind one of its marks.
                    let behind = |marks: &[char]| {
                        let at = line.iter().rposition(|(c, _)| marks.contains(c))?;
                        (at + 1 > line.len() / 2).then_some(at + 1)
                    };
                    let cut = behind(&[' '])
                        .or_else(|| behind(&['/', '-', '_', ',', '.']))
                        .unwrap_or(line.len());
                    let rest = line.split_off(cut);
                    flush(&mut line, &mut rows);
                    line = rest;
                    used = line.iter().map(|(c, _)| c.width().unwrap_or(0)).sum();
                }
                line.push((c, span.style));
                used += wide;
            }
        }
        flush(&mut line, &mut rows);
        rows
    }
}

/// Columns that a visible text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// A text of at most `most` columns; what is cut is marked.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > most {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}
