//! Pure. Numbers of cards, of people and of phones. A number that could as well count, name or date something
//! is left alone: a find must hold by its check digits and issuer, or by how it is grouped.

use super::Detectors;
use super::scan::Text;
use crate::policy::Detector;

/// Groups of digits that are looked at together.
const GROUPS: usize = 8;
/// Digits of the longest card number, and of the longest phone number with `00` before it.
const DIGITS: usize = 19;

/// Digits with one sign between each two groups, as they stand in a text.
struct Run {
    /// Where each group begins and ends.
    groups: [(usize, usize); GROUPS],
    /// What stands before each group; of the first, nothing.
    signs: [u8; GROUPS],
    count: usize,
}

impl Run {
    fn read(text: Text<'_>, start: usize) -> Run {
        let mut run = Run {
            groups: [(0, 0); GROUPS],
            signs: [0; GROUPS],
            count: 0,
        };
        let mut at = start;
        for (group, sign) in run.groups.iter_mut().zip(&mut run.signs) {
            let mut digits = at;
            if at > start {
                match (text.at(at), text.at(at + 1)) {
                    (Some(b @ (b' ' | b'-' | b'.' | b'/')), Some(b'0'..=b'9')) => *sign = b,
                    _ => break,
                }
                digits += 1;
            }
            let end = digits + text.run(digits, |byte| byte.is_ascii_digit());
            // A word that only begins with digits is none.
            if end == digits || !text.is_end(end) {
                break;
            }
            *group = (digits, end);
            run.count += 1;
            at = end;
        }
        run
    }

    /// The lengths of the first groups.
    fn sizes(&self, count: usize) -> impl Iterator<Item = usize> {
        let groups = self.groups.iter().take(count.min(self.count));
        groups.map(|(start, end)| end - start)
    }

    fn size(&self, at: usize) -> usize {
        self.groups.get(at).map_or(0, |(start, end)| end - start)
    }

    fn end(&self, count: usize) -> Option<usize> {
        let last = self.groups.get(count.checked_sub(1)?)?;
        (count <= self.count).then_some(last.1)
    }

    fn sign(&self, at: usize) -> u8 {
        self.signs.get(at).copied().unwrap_or(0)
    }

    /// Whether all signs from the one before group `from` to the one before group `to` are this.
    fn same(&self, from: usize, to: usize, sign: u8) -> bool {
        (from..=to).all(|at| self.sign(at) == sign)
    }
}

/// The digits of a stretch, at most `DIGITS`.
struct Digits {
    values: [u8; DIGITS],
    count: usize,
}

impl Digits {
    fn of(bytes: &[u8]) -> Option<Digits> {
        let mut digits = Digits {
            values: [0; DIGITS],
            count: 0,
        };
        for byte in bytes.iter().filter(|byte| byte.is_ascii_digit()) {
            *digits.values.get_mut(digits.count)? = byte - b'0';
            digits.count += 1;
        }
        Some(digits)
    }

    fn all(&self) -> &[u8] {
        self.values.get(..self.count).unwrap_or_default()
    }

    /// The first digits as a number.
    fn head(&self, count: usize) -> u32 {
        let head = self.all().iter().take(count);
        head.fold(0, |head, digit| head * 10 + u32::from(*digit))
    }
}

/// What the number is whose first digits are the word at a place, and where it ends.
pub(super) fn at(
    text: Text<'_>,
    start: usize,
    end: usize,
    on: Detectors,
) -> Option<(usize, Detector)> {
    let size = end - start;
    let before = text.before(start).next();
    // Behind what was covered nothing begins, or what is kept of a find would be one itself.
    if before == Some(b'*') || size > DIGITS {
        return None;
    }
    if size >= 13 {
        let end = single_card(text, start, end).filter(|_| on.has(Detector::Card))?;
        return Some((end, Detector::Card));
    }
    // The rest is known by its groups; most can be told from the first two.
    let sign = text
        .at(end)
        .filter(|b| matches!(b, b' ' | b'-' | b'.' | b'/'))?;
    let first = text.at(start)?;
    let second = text.run(end + 1, |byte| byte.is_ascii_digit());
    let dashed = matches!(sign, b' ' | b'-');
    let card = on.has(Detector::Card)
        && dashed
        && matches!(size, 4..=6)
        && matches!(first, b'2'..=b'6' | b'8')
        && second >= 3;
    let ssn = on.has(Detector::Ssn) && dashed && size == 3 && second == 2;
    let phone = on.has(Detector::Phone)
        && match (first, size) {
            (b'0', 2..=5) => second >= 2,
            (b'1', 1) => second == 3,
            (_, 3) => second == 3 && sign != b' ' && sign != b'/',
            _ => false,
        };
    // In a row of numbers nobody can say where one begins.
    if !(card || ssn || phone) || sign == b' ' && in_a_row(text, start) {
        return None;
    }
    let run = Run::read(text, start);
    let found = card
        .then(|| grouped_card(text, start, &run).map(|end| (end, Detector::Card)))
        .flatten();
    let found = found.or_else(|| {
        let end = ssn.then(|| self::ssn(text, start, &run)).flatten()?;
        Some((end, Detector::Ssn))
    });
    found.or_else(|| {
        let end = phone.then(|| national(text, start, &run)).flatten()?;
        Some((end, Detector::Phone))
    })
}

/// Whether a number of more than two digits stands before the place.
fn in_a_row(text: Text<'_>, start: usize) -> bool {
    let mut before = text.before(start);
    let blank = before.next() == Some(b' ');
    blank
        && before
            .take(3)
            .filter(|byte| byte.is_ascii_digit() || *byte == b'*')
            .count()
            == 3
}

/// Whether the place is inside a longer number, date, version or identifier: a sign stands before it, and a
/// letter or digit before that.
fn goes_on_before(text: Text<'_>, start: usize, signs: &[u8]) -> bool {
    let mut before = text.before(start);
    before.next().is_some_and(|sign| signs.contains(&sign)) && before.next().is_some_and(goes_on)
}

/// Letters and digits, and what stands where some were.
fn goes_on(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'*'
}

/// Whether it goes on behind the place.
fn goes_on_behind(text: Text<'_>, end: usize, signs: &[u8]) -> bool {
    text.at(end).is_some_and(|sign| signs.contains(&sign)) && text.at(end + 1).is_some_and(goes_on)
}

fn single_card(text: Text<'_>, start: usize, end: usize) -> Option<usize> {
    // Digits behind a point, or before one, are those of a fraction.
    if goes_on_before(text, start, b".") || goes_on_behind(text, end, b".") {
        return None;
    }
    is_card(&Digits::of(text.bytes.get(start..end)?)?).then_some(end)
}

/// `4111 1111 1111 1111`, `3782-822463-10005`: of all that fit, the longest.
fn grouped_card(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    let sign = run.sign(1);
    if !matches!(sign, b' ' | b'-') || !(4..=6).contains(&run.size(0)) {
        return None;
    }
    if sign == b'-' && goes_on_before(text, start, b"-") {
        return None;
    }
    (2..=run.count).rev().find_map(|count| {
        let end = run.end(count)?;
        let total: usize = run.sizes(count).sum();
        let small = |(at, size): (usize, usize)| size < 3 && at + 1 < count;
        let fits = (13..=19).contains(&total)
            && run.same(1, count - 1, sign)
            && !run.sizes(count).enumerate().any(small)
            && !(sign == b'-' && goes_on_behind(text, end, b"-"));
        (fits && is_card(&Digits::of(text.bytes.get(start..end)?)?)).then_some(end)
    })
}

/// Whether an issuer gives numbers like this one (ISO/IEC 7812), and the last digit checks the others.
fn is_card(digits: &Digits) -> bool {
    let length = digits.count;
    let head = digits.head(6);
    let issued = match head {
        // Visa.
        400_000..=499_999 => matches!(length, 13 | 16 | 19),
        // Mastercard, Mir.
        510_000..=559_999 | 222_100..=272_099 => length == 16,
        220_000..=220_499 => matches!(length, 16..=19),
        // American Express.
        340_000..=349_999 | 370_000..=379_999 => length == 15,
        // Diners Club.
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => {
            matches!(length, 14 | 16)
        }
        // JCB.
        352_800..=358_999 => matches!(length, 16..=19),
        // Discover, UnionPay, Maestro, RuPay.
        600_000..=699_999 => matches!(length, 16..=19),
        500_000..=509_999 | 560_000..=589_999 => matches!(length, 13 | 15 | 16 | 18 | 19),
        810_000..=817_199 => matches!(length, 16..=19),
        _ => false,
    };
    // An article number (EAN) is no card number, though one in ten passes for one.
    issued && luhn(digits.all()) && !(length == 13 && ean(digits.all()))
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| {
            let value = u32::from(*digit) * if at % 2 == 1 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

fn ean(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| u32::from(*digit) * if at % 2 == 1 { 3 } else { 1 })
        .sum();
    sum.is_multiple_of(10)
}

/// A number of the US Social Security Administration: areas, groups and serials that it gives out.
fn ssn(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    let sign = run.sign(1);
    let shaped = run.sizes(3).eq([3, 2, 4]) && run.same(1, 2, sign);
    if !shaped || !matches!(sign, b'-' | b' ') {
        return None;
    }
    let end = run.end(3)?;
    let digits = Digits::of(text.bytes.get(start..end)?)?;
    let [a, b, c, d, e, f @ ..] = digits.all() else {
        return None;
    };
    let area = u32::from(*a) * 100 + u32::from(*b) * 10 + u32::from(*c);
    let given = !matches!(area, 0 | 666 | 900..) && (*d, *e) != (0, 0) && f != [0, 0, 0, 0];
    // Of a row of numbers nobody can say where one ends.
    let apart = !goes_on_before(text, start, b"-./")
        && !goes_on_behind(text, end, b"-./")
        && (sign == b'-'
            || run.count == 3
                && !digit_before(text, start, b"-./ ")
                && !goes_on_behind_covered(text, end));
    (given && apart).then_some(end)
}

/// Whether the next word was covered.
fn goes_on_behind_covered(text: Text<'_>, end: usize) -> bool {
    (text.at(end), text.at(end + 1)) == (Some(b' '), Some(b'*'))
}

fn digit_before(text: Text<'_>, start: usize, signs: &[u8]) -> bool {
    let mut before = text.before(start);
    before.next().is_some_and(|sign| signs.contains(&sign))
        && before
            .next()
            .is_some_and(|byte| byte.is_ascii_digit() || byte == b'*')
}

/// Whether the North American plan gives such numbers out: ten digits.
fn is_american(digits: &[u8]) -> bool {
    matches!(digits, [2..=9, _, _, 2..=9, _, _, _, _, _, _])
}

/// A phone number as it is written within a country.
fn national(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    let before = text.before(start).next();
    if goes_on_before(text, start, b"-./+")
        || before == Some(b'+')
        || digit_before(text, start, b":")
    {
        return None;
    }
    let end = if text.at(start) == Some(b'0') {
        trunk(text, start, run)
    } else {
        american(text, start, run)
    }?;
    (!goes_on_behind(text, end, b"-./")).then_some(end)
}

/// `212-555-1234`, `212.555.1234`, `1-212-555-1234`, `1 212-555-1234`.
fn american(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    let first = usize::from(run.size(0) == 1 && text.at(start) == Some(b'1'));
    let mut sizes = run.sizes(first + 3).skip(first);
    let shaped = (sizes.next(), sizes.next(), sizes.next()) == (Some(3), Some(3), Some(4));
    let sign = run.sign(first + 1);
    if !shaped || !matches!(sign, b'-' | b'.') || run.sign(first + 2) != sign {
        return None;
    }
    let end = run.end(first + 3)?;
    let digits = Digits::of(text.bytes.get(start..end)?)?;
    is_american(digits.all().get(first..)?).then_some(end)
}

/// How numbers with a `0` before the area are grouped, where there are more than two groups.
const SHAPES: &[&[usize]] = &[
    &[2, 2, 2, 2, 2],
    &[2, 4, 4],
    &[2, 3, 4],
    &[2, 3, 2, 2],
    &[3, 4, 4],
    &[3, 3, 4],
    &[3, 3, 3, 3],
    &[3, 3, 2, 2],
    &[3, 2, 2, 3],
    &[4, 3, 3],
    &[4, 3, 4],
    &[4, 4, 4],
    &[4, 2, 2, 2],
    &[4, 2, 2, 3],
    &[4, 2, 2, 2, 2],
    &[5, 3, 3],
    &[5, 2, 2, 2],
];

/// `030 1234567`, `0171/1234567`, `020 7946 0958`, `01 23 45 67 89`, `0049 30 1234567`.
fn trunk(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    if text.at(start + 1).is_none_or(|byte| byte == b'0') {
        return abroad(text, start, run);
    }
    (2..=run.count.min(5)).rev().find_map(|count| {
        let total: usize = run.sizes(count).sum();
        let signs = count == 2
            || matches!(run.sign(2), b' ' | b'-' | b'.') && run.same(2, count - 1, run.sign(2));
        let grouped = SHAPES
            .iter()
            .any(|shape| run.sizes(count).eq(shape.iter().copied()));
        let halves = count == 2 && (3..=5).contains(&run.size(0)) && (6..=8).contains(&run.size(1));
        let fits = (9..=12).contains(&total) && signs && (grouped || halves && total >= 10);
        // `0.5 …` is a fraction, and `01.02.2024` a date.
        (fits && run.sign(1) != b'.' || fits && count >= 3 && run.size(0) >= 3)
            .then(|| run.end(count))
            .flatten()
    })
}

/// `00` and the country's number. Zeros before a count look the same where nothing is between its digits.
fn abroad(text: Text<'_>, start: usize, run: &Run) -> Option<usize> {
    if !(2..=5).contains(&run.size(0)) {
        return None;
    }
    (2..=run.count).rev().find_map(|count| {
        let end = run.end(count)?;
        let digits = Digits::of(text.bytes.get(start..end)?)?;
        let number = digits.all().get(2..)?;
        let same = count == 2 || run.same(2, count - 1, run.sign(2));
        (same && is_abroad(number)).then_some(end)
    })
}

/// Whether the digits behind `+` or `00` are a phone number (E.164): a country's number and enough behind it.
fn is_abroad(digits: &[u8]) -> bool {
    let known = match digits {
        [1, rest @ ..] => return is_american(rest),
        [7, ..]
        | [2, 0 | 7, ..]
        | [3, 0..=4 | 6 | 9, ..]
        | [4, 0 | 1 | 3..=9, ..]
        | [5, 1..=8, ..]
        | [6, 0..=6, ..]
        | [8, 1 | 2 | 4 | 6, ..]
        | [9, 0..=5 | 8, ..] => true,
        // Of three digits.
        [2, 1..=6 | 9, _, ..]
        | [3, 5 | 7 | 8, _, ..]
        | [4, 2, _, ..]
        | [5, 0 | 9, _, ..]
        | [6, 7..=9, _, ..]
        | [8, 0 | 5 | 7 | 8, _, ..]
        | [9, 6 | 7 | 9, _, ..] => true,
        _ => false,
    };
    known && (10..=15).contains(&digits.len())
}

/// The longest stretch that a phone number is looked for in.
const STRETCH: usize = 32;

/// Where the phone number ends whose `+` stands here.
pub(super) fn international(text: Text<'_>, plus: usize) -> Option<usize> {
    if text
        .before(plus)
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'*' | b'_'))
    {
        return None;
    }
    let first = text.at(plus + 1)?;
    if !first.is_ascii_digit() && first != b'(' {
        return None;
    }
    let behind = text.behind(plus + 1);
    let stretch = behind.get(..behind.len().min(STRETCH)).unwrap_or(behind);
    let mut digits = [0; 15];
    let (mut count, mut between, mut good) = (0, 0, None);
    for (at, byte) in stretch.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let Some(place) = digits.get_mut(count) else {
                    break;
                };
                *place = byte - b'0';
                count += 1;
                between = 0;
                let ends = stretch
                    .get(at + 1)
                    .is_none_or(|next| !next.is_ascii_digit())
                    && text.is_end(plus + 2 + at);
                let so_far = digits.get(..count).unwrap_or_default();
                if ends && is_abroad(so_far) {
                    good = Some(plus + 2 + at);
                }
            }
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' if between < 2 => between += 1,
            _ => break,
        }
    }
    good
}

/// Where the phone number ends whose area stands in brackets from here: `(212) 555-1234`, `(030) 1234567`.
pub(super) fn bracketed(text: Text<'_>, open: usize) -> Option<usize> {
    if text
        .before(open)
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'_'))
    {
        return None;
    }
    let area = text.run(open + 1, |byte| byte.is_ascii_digit());
    let close = open + 1 + area;
    if !(2..=6).contains(&area) || text.at(close) != Some(b')') {
        return None;
    }
    let start = close + 1 + usize::from(text.at(close + 1) == Some(b' '));
    if !text.at(start)?.is_ascii_digit() {
        return None;
    }
    let run = Run::read(text, start);
    if text.at(open + 1) != Some(b'0') {
        let end = run.end(2)?;
        let digits = Digits::of(text.bytes.get(open..end)?)?;
        let good = area == 3 && run.sizes(2).eq([3, 4]) && is_american(digits.all());
        return (good && !goes_on_behind(text, end, b"-./")).then_some(end);
    }
    (1..=run.count.min(4)).rev().find_map(|count| {
        let end = run.end(count)?;
        let total = area + run.sizes(count).sum::<usize>();
        let same = count == 1 || run.same(1, count - 1, run.sign(1)) && run.sign(1) != b'/';
        (same && (9..=12).contains(&total) && !goes_on_behind(text, end, b"-./")).then_some(end)
    })
}
