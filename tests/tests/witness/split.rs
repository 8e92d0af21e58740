//! The statements of a file that is meant for `psql`, as `psql` would send them.

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The line it begins in, from 1.
    pub(super) line: usize,
    /// Without its semicolon.
    pub(super) text: String,
}

/// The statements of a file. Those with a variable of `psql`'s are left out, and counted.
pub(super) fn split(file: &str) -> (Vec<Statement>, usize) {
    let mut splitter = Splitter {
        text: file.as_bytes(),
        at: 0,
        statements: Vec::new(),
        variables: 0,
    };
    while splitter.next() {}
    (splitter.statements, splitter.variables)
}

struct Splitter<'a> {
    text: &'a [u8],
    at: usize,
    statements: Vec<Statement>,
    variables: usize,
}

impl Splitter<'_> {
    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn line_end(&self) -> usize {
        let rest = &self.text[self.at..];
        self.at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
    }

    /// Moves behind `what`, or to the end.
    fn behind(&mut self, what: &[u8]) {
        let rest = &self.text[self.at..];
        let found = rest.windows(what.len()).position(|piece| piece == what);
        self.at = found.map_or(self.text.len(), |found| self.at + found + what.len());
    }

    /// A string that ends at the next single `quote`.
    fn quoted(&mut self, quote: u8, backslashes: bool) {
        self.at += 1;
        while self.at < self.text.len() {
            let byte = self.byte(0);
            if backslashes && byte == b'\\' {
                self.at += 2;
            } else if byte == quote {
                self.at += 1;
                if self.byte(0) != quote {
                    return;
                }
                self.at += 1;
            } else {
                self.at += 1;
            }
        }
    }

    fn comment(&mut self) {
        let mut depth = 0;
        while self.at < self.text.len() {
            match (self.byte(0), self.byte(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// One statement, or what stands between two. False at the end.
    fn next(&mut self) -> bool {
        while self.byte(0).is_ascii_whitespace() {
            self.at += 1;
        }
        let start = self.at;
        let line = self.text[..start].iter().filter(|b| **b == b'\n').count() + 1;
        let (mut parens, mut begins, mut variable) = (0_usize, 0_usize, false);
        let mut words: Vec<String> = Vec::new();
        let mut end = None;
        while self.at < self.text.len() {
            let byte = self.byte(0);
            match byte {
                b'-' if self.byte(1) == b'-' => {
                    self.at = self.line_end();
                }
                b'/' if self.byte(1) == b'*' => self.comment(),
                b'\'' => self.quoted(b'\'', false),
                b'"' => self.quoted(b'"', false),
                b'$' if self.dollar() => {}
                b'\\' if self.byte(1) == b';' => self.at += 2,
                b'\\' => {
                    // A command of psql's: it takes the line, and may send what stands before it.
                    let sends = matches!(self.byte(1), b'g' | b'c');
                    end = Some(self.at);
                    self.at = self.line_end();
                    if !sends {
                        end = end.filter(|end| *end == start);
                    }
                    break;
                }
                b'(' => {
                    parens += 1;
                    self.at += 1;
                }
                b')' => {
                    parens = parens.saturating_sub(1);
                    self.at += 1;
                }
                b';' if parens == 0 && begins == 0 => {
                    end = Some(self.at);
                    self.at += 1;
                    break;
                }
                b':' => {
                    let next = self.byte(1);
                    let before = self.at.checked_sub(1).map_or(0, |at| self.text[at]);
                    if (next.is_ascii_alphabetic() || next == b'\'' || next == b'"' || next == b'{')
                        && before != b':'
                        && !(before == b'[' || (parens > 0 && self.in_slice()))
                    {
                        variable = true;
                    }
                    self.at += 1;
                }
                _ if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                    let from = self.at;
                    while matches!(self.byte(0), b'_' | b'$' | 0x80..)
                        || self.byte(0).is_ascii_alphanumeric()
                    {
                        self.at += 1;
                    }
                    let word = String::from_utf8_lossy(&self.text[from..self.at]).to_lowercase();
                    if word == "e" && self.byte(0) == b'\'' {
                        self.quoted(b'\'', true);
                        continue;
                    }
                    let defines = words.first().is_some_and(|first| first == "create")
                        && words
                            .iter()
                            .take(4)
                            .any(|w| w == "function" || w == "procedure");
                    match word.as_str() {
                        "begin" if defines => begins += 1,
                        "case" if begins > 0 => begins += 1,
                        "end" if begins > 0 => begins -= 1,
                        _ => {}
                    }
                    words.push(word);
                }
                _ => self.at += 1,
            }
        }
        let whole = end.is_some();
        let text = &self.text[start..end.unwrap_or(self.at).max(start)];
        if whole && !words.is_empty() {
            if variable {
                self.variables += 1;
            } else if let Ok(text) = std::str::from_utf8(text) {
                self.statements.push(Statement {
                    line,
                    text: text.trim_end().to_owned(),
                });
            }
        }
        let copies = words.first().is_some_and(|word| word == "copy")
            && words.windows(2).any(|pair| pair == ["from", "stdin"]);
        if whole && copies {
            self.data();
        }
        self.at < self.text.len()
    }

    /// Whether a colon stands between brackets, where it makes a slice.
    fn in_slice(&self) -> bool {
        let line = self.text[..self.at]
            .rsplit(|b| *b == b'\n')
            .next()
            .unwrap_or_default();
        let count = |byte| line.iter().filter(|b| **b == byte).count();
        count(b'[') > count(b']')
    }

    fn dollar(&mut self) -> bool {
        let rest = &self.text[self.at + 1..];
        let name = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || **b >= 0x80)
            .count();
        if rest.get(name) != Some(&b'$') || rest.first().is_some_and(u8::is_ascii_digit) {
            return self.parameter();
        }
        let tag = self.text[self.at..self.at + name + 2].to_vec();
        self.at += tag.len();
        self.behind(&tag);
        true
    }

    fn parameter(&mut self) -> bool {
        self.at += 1;
        true
    }

    /// Data in line, to its end; where there is none, the next statement follows at once.
    fn data(&mut self) {
        let rest = String::from_utf8_lossy(&self.text[self.at..]).into_owned();
        // An end before the next statement that is surely one.
        let Some(end) = rest.find("\n\\.") else {
            return;
        };
        let between = &rest[..end];
        let statement = [
            "\nselect ",
            "\ncopy ",
            "\ncreate ",
            "\ninsert ",
            "\ndrop ",
            "\n--",
            "\nalter ",
        ];
        if statement
            .iter()
            .any(|begin| between.to_lowercase().contains(begin))
        {
            return;
        }
        self.behind(b"\n\\.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_as_psql_cuts_it() {
        let file = "-- one; two\nselect ';', \";\", $$;$$, $a$;$$;$a$, E'\\';' /* ; /* ; */ */;\n\
            \\set x 1\nselect :x;\nselect a[1:2], b::int\n;\ncopy t from stdin;\n1;\n\\.\n\
            create function f() returns int begin atomic select case when true then 1 end; end;\n\
            create rule r as on insert to t do (select 1; select 2);\nselect 3 \\gset\nselect 4;\n";
        let (statements, variables) = split(file);
        let texts: Vec<_> = statements
            .iter()
            .map(|s| (s.line, s.text.lines().last().unwrap()))
            .collect();
        assert_eq!(
            texts,
            [
                (
                    1,
                    "select ';', \";\", $$;$$, $a$;$$;$a$, E'\\';' /* ; /* ; */ */"
                ),
                (5, "select a[1:2], b::int"),
                (7, "copy t from stdin"),
                (
                    10,
                    "create function f() returns int begin atomic select case when true then 1 end; end"
                ),
                (
                    11,
                    "create rule r as on insert to t do (select 1; select 2)"
                ),
                (12, "select 3"),
                (13, "select 4"),
            ]
        );
        assert_eq!(variables, 1);
    }
}
