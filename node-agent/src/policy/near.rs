//! The word that was probably meant.

/// Words longer than this are not compared: nobody mistypes a paragraph.
const LONGEST: usize = 64;

/// The known word nearest to a wrong one, if one is near enough to be worth a question.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = wrong.to_lowercase();
    let length = folded.chars().count();
    if length == 0 || length > LONGEST {
        return None;
    }
    // One slip in a short word, a few in a long one.
    let most = (length / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|word| *word != wrong && word.chars().count() <= LONGEST)
        .map(|word| (distance(&folded, &word.to_lowercase()), word))
        .filter(|(slips, word)| *slips <= most && *slips < length.min(word.chars().count()))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// `; did you mean …?`, or nothing.
pub(super) fn question<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// A message of the YAML reader about an unknown key or word, with the word that was meant.
pub(super) fn kinder(message: &str) -> String {
    let wrong = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|words| message.split_once(words))
        .and_then(|(_, rest)| rest.split_once('`'));
    let Some((wrong, rest)) = wrong else {
        return message.to_owned();
    };
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let message = message
        .replace("unknown field", "unknown key")
        .replace("unknown variant", "unknown word");
    format!("{message}{}", question(wrong, known))
}

/// Letters to add, take away, change or swap with the next.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let right: Vec<char> = right.chars().collect();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (i, one) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in right.iter().enumerate() {
            let mut best = (at(&last, j) + usize::from(one != other))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(other) && right.get(j - 1) == Some(one);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_undone_and_another_word_is_not() {
        let known = ["select", "update", "delete", "drop", "do", "read", "groups"];
        for (wrong, meant) in [
            ("selct", Some("select")),
            ("updaet", Some("update")),
            ("SELECT", Some("select")),
            ("raed", Some("read")),
            ("group", Some("groups")),
            ("xyzzy", None),
            ("", None),
            ("o", None),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
    }

    #[test]
    fn the_reader_s_words_gain_a_suggestion() {
        assert_eq!(
            kinder("unknown field `effekt`, expected one of `name`, `effect`"),
            "unknown key `effekt`, expected one of `name`, `effect`; did you mean `effect`?"
        );
        assert_eq!(kinder("missing field `name`"), "missing field `name`");
    }
}
