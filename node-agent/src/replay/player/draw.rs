//! Pure. The player on a screen of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::ink::{self, BAD, GOOD, Ink, MASKED, PLAIN, Row, SOFT, STRONG, WARN};
use super::page::Page;
use super::state::{KEYS, Mode, Motion, Player, Reading};
use super::steps::Kind;
use crate::record::Ending;
use crate::replay::read::{Outcome, State};
use crate::replay::told::Ruled;
use crate::replay::visible::visible;
use crate::replay::{Verdict, when};

/// From this width there is a margin; from this one, a list.
const MARGIN_FROM: u16 = 100;
const LIST_FROM: u16 = 72;
const MARGIN: u16 = 30;
const LIST: u16 = 30;

/// Where things are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) top: Rect,
    pub(super) list: Option<Rect>,
    pub(super) page: Rect,
    pub(super) margin: Option<Rect>,
    pub(super) time: Rect,
    pub(super) foot: Rect,
}

/// Divides the screen.
pub(super) fn places(area: Rect, list: bool) -> Places {
    let [top, middle, time, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(if area.height >= 14 { 3 } else { 0 }),
        Constraint::Length(1),
    ])
    .areas(area);
    let wide = if list { 0 } else { LIST };
    let margin = if area.width + wide >= MARGIN_FROM {
        MARGIN + 2
    } else {
        0
    };
    let list = if list && area.width >= LIST_FROM {
        LIST
    } else {
        0
    };
    let [left, page, right] = Layout::horizontal([
        Constraint::Length(list),
        Constraint::Min(10),
        Constraint::Length(margin),
    ])
    .areas(middle);
    let inner = |area: Rect| Rect {
        x: area.x.saturating_add(2).min(area.right()),
        width: area.width.saturating_sub(2),
        ..area
    };
    Places {
        top,
        list: (list > 0).then_some(left),
        page: Rect {
            x: page.x.saturating_add(1),
            width: page.width.saturating_sub(2),
            ..page
        },
        margin: (margin > 0).then(|| inner(right)),
        time,
        foot,
    }
}

/// All that is drawn besides the player's own state.
pub(super) struct Shown<'a> {
    pub(super) places: Places,
    /// `alice · claude → orders`.
    pub(super) title: &'a str,
    pub(super) state: &'a State,
    pub(super) page: &'a Page,
    /// The first step of the list, and how they begin.
    pub(super) labels: (usize, &'a [String]),
    pub(super) bars: &'a [Bar],
}

pub(super) fn draw(frame: &mut Frame<'_>, player: &Player, shown: &Shown<'_>) {
    let places = &shown.places;
    top(frame, places.top, player, shown);
    if let Some(area) = places.list {
        list(frame, area, player, shown.labels);
    }
    let rows = shown.page.rows.iter().skip(player.scroll);
    for (row, line) in rows.zip(lines(places.page)) {
        draw_row(frame, line, row, player.side);
    }
    more(frame, places.page, player, &shown.page.rows);
    if let Some(area) = places.margin {
        for line in lines(area) {
            let bar = Rect {
                x: line.x.saturating_sub(2),
                width: 1,
                ..line
            };
            frame.render_widget(Span::styled("│", SOFT), bar);
        }
        for (row, line) in shown.page.margin.iter().zip(lines(area)) {
            draw_row(frame, line, row, 0);
        }
    }
    time_line(frame, places.time, player, shown.bars);
    foot(frame, places.foot, player);
    if player.mode == Mode::Help {
        help(frame);
    }
}

fn lines(area: Rect) -> impl Iterator<Item = Rect> {
    (area.top()..area.bottom()).map(move |y| Rect {
        y,
        height: 1,
        ..area
    })
}

fn draw_row(frame: &mut Frame<'_>, area: Rect, row: &Row, side: usize) {
    let side = if row.wide {
        u16::try_from(side).unwrap_or(u16::MAX)
    } else {
        0
    };
    frame.render_widget(Paragraph::new(row.line.clone()).scroll((0, side)), area);
}

/// How much is below, and whether there is more on the right.
fn more(frame: &mut Frame<'_>, area: Rect, player: &Player, rows: &[Row]) {
    let height = usize::from(area.height);
    let below = rows.len().saturating_sub(player.scroll + height);
    let room = usize::from(area.width) + player.side;
    let mut seen = rows.iter().skip(player.scroll).take(height);
    let right = seen.any(|row| row.wide && row.line.width() > room);
    let says = match (below, right) {
        (0, false) => return,
        (0, true) => " → wider: > ".to_owned(),
        (below, false) => format!(" ↓ {below} more "),
        (below, true) => format!(" → wider: >   ↓ {below} more "),
    };
    let wide = u16::try_from(ink::width(&says))
        .unwrap_or(0)
        .min(area.width);
    let place = Rect {
        x: area.right().saturating_sub(wide),
        y: area.bottom().saturating_sub(1),
        width: wide,
        height: area.height.min(1),
    };
    frame.render_widget(
        Span::styled(says, SOFT.add_modifier(Modifier::REVERSED)),
        place,
    );
}

fn top(frame: &mut Frame<'_>, area: Rect, player: &Player, shown: &Shown<'_>) {
    let (sign, style) = match (&shown.state.outcome, player.reading) {
        _ if shown.state.verdict() == Verdict::Bad => ("✗ DAMAGED".to_owned(), BAD),
        (_, Reading::Percent(percent)) => (format!("… reading {percent} %"), SOFT),
        (_, Reading::Waiting) => ("● live, unbroken so far".to_owned(), WARN),
        (Some(Outcome::Sound(Ending::Closed)), Reading::Whole) => {
            ("✓ unbroken, closed".to_owned(), GOOD)
        }
        (_, Reading::Whole) if shown.state.live => ("● open, unbroken so far".to_owned(), WARN),
        (_, Reading::Whole) => ("! unbroken, but without a close".to_owned(), WARN),
    };
    let room = usize::from(area.width);
    let sign_width = ink::width(&sign) + 1;
    let session = shown.state.session.to_string();
    let title = ink::cut(
        &visible(shown.title),
        room.saturating_sub(sign_width + session.len() + 4),
    );
    let ink = Ink::default()
        .say(" ", PLAIN, "")
        .say(&session, STRONG, "")
        .say("  ", PLAIN, "")
        .say(&title, PLAIN, "")
        .pad(room.saturating_sub(sign_width))
        .say(&sign, style, "");
    frame.render_widget(ink.line(), Rect { height: 1, ..area });
    let rule = Rect {
        y: area.y + 1,
        height: area.height.min(2).saturating_sub(1),
        ..area
    };
    frame.render_widget(Span::styled("─".repeat(room), SOFT), rule);
}

fn sign(kind: Kind) -> (&'static str, Style) {
    match kind {
        Kind::Began | Kind::Closed => ("○", SOFT),
        Kind::Refused => ("✗", BAD),
        Kind::Statement(ruled) => {
            let (sign, _, style) = ink::ruled(ruled);
            (sign, style)
        }
        Kind::Note => ("·", SOFT),
        Kind::Unknown => ("?", WARN),
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, player: &Player, (first, labels): (usize, &[String])) {
    for ((number, label), line) in labels.iter().enumerate().zip(lines(area)) {
        let at = first + number;
        let Some(step) = player.steps.get(at) else {
            break;
        };
        let (mut sign, mut style) = sign(step.kind);
        if step.failed {
            (sign, style) = ("!", BAD);
        }
        let name = match step.kind {
            Kind::Statement(_) => format!("#{}", step.seq),
            _ => String::new(),
        };
        let found = player.matches.as_ref();
        let found = found.is_some_and(|matches| matches.found.binary_search(&at).is_ok());
        let ink = Ink::default()
            .say(
                if found { "▸" } else { " " },
                if found { WARN } else { PLAIN },
                "",
            )
            .say(sign, style, "")
            .say(" ", PLAIN, "")
            .say(&name, if step.judged() { style } else { SOFT }, "");
        let from = ink.width().max(8) + 1;
        let room = usize::from(area.width).saturating_sub(from + 2);
        let label = ink::cut(&visible(label), room);
        let ink = ink
            .pad(from)
            .say(&label, PLAIN, "")
            .pad(usize::from(area.width) - 1);
        let mut drawn = ink.line();
        if at == player.at {
            drawn = drawn.style(Style::new().add_modifier(Modifier::REVERSED));
        }
        frame.render_widget(drawn, line);
        let bar = Rect {
            x: line.right().saturating_sub(1),
            width: 1,
            ..line
        };
        frame.render_widget(Span::styled("│", SOFT), bar);
    }
    for line in lines(area).skip(labels.len()) {
        let bar = Rect {
            x: line.right().saturating_sub(1),
            width: 1,
            ..line
        };
        frame.render_widget(Span::styled("│", SOFT), bar);
    }
}

/// A column of the time line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) statements: u32,
    pub(super) denied: bool,
    pub(super) held: bool,
    pub(super) failed: bool,
}

/// The time line's columns, over all steps.
pub(super) fn bars(player: &Player, columns: u16) -> Vec<Bar> {
    let mut bars = vec![Bar::default(); usize::from(columns)];
    for step in player.steps.all() {
        let Some(bar) = bars.get_mut(column(player, step.at.0 as f64, columns)) else {
            continue;
        };
        bar.failed |= step.failed;
        match step.kind {
            Kind::Statement(ruled) => {
                bar.statements += 1;
                match ruled {
                    Ruled::Allowed => {}
                    Ruled::Observed | Ruled::Held => bar.held = true,
                    Ruled::Denied => bar.denied = true,
                }
            }
            Kind::Refused => bar.denied = true,
            Kind::Began | Kind::Note | Kind::Unknown | Kind::Closed => {}
        }
    }
    bars
}

fn span(player: &Player) -> (f64, f64) {
    let all = player.steps.all();
    let first = all.first().map_or(0.0, |step| step.at.0 as f64);
    let last = all.last().map_or(first, |step| step.end().0 as f64);
    (first, last.max(first + 1.0))
}

fn column(player: &Player, at: f64, columns: u16) -> usize {
    let (first, last) = span(player);
    let part = ((at - first) / (last - first)).clamp(0.0, 1.0);
    (part * f64::from(columns.saturating_sub(1))).round() as usize
}

fn time_line(frame: &mut Frame<'_>, area: Rect, player: &Player, bars: &[Bar]) {
    const HEIGHTS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    if area.height < 3 {
        return;
    }
    let [rule, line, marks] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    frame.render_widget(
        Span::styled("─".repeat(usize::from(area.width)), SOFT),
        rule,
    );
    let most = bars
        .iter()
        .map(|bar| bar.statements)
        .max()
        .unwrap_or(0)
        .max(1);
    let here = column(player, player.now, area.width.saturating_sub(2));
    let mut above = vec![Span::raw(" ")];
    let mut below = vec![Span::raw(" ")];
    for (at, bar) in bars.iter().enumerate() {
        let height = usize::try_from(bar.statements * 7 / most).unwrap_or(0);
        let text = match bar.statements {
            0 => " ",
            _ => HEIGHTS.get(height).copied().unwrap_or("█"),
        };
        let style = if at <= here {
            Style::new().fg(ratatui::style::Color::Cyan)
        } else {
            SOFT
        };
        above.push(Span::styled(text, style));
        let (mark, style) = match bar {
            _ if at == here => ("▲", STRONG),
            Bar { denied: true, .. } => ("✗", BAD),
            Bar { failed: true, .. } => ("!", BAD),
            Bar { held: true, .. } => ("◆", WARN),
            _ => ("─", SOFT),
        };
        below.push(Span::styled(mark, style));
    }
    frame.render_widget(Line::from(above), line);
    frame.render_widget(Line::from(below), marks);
}

fn foot(frame: &mut Frame<'_>, area: Rect, player: &Player) {
    let room = usize::from(area.width);
    let typed = |before: &str, text: &str| {
        Ink::default()
            .say(before, STRONG, "")
            .say(text, PLAIN, "")
            .say("▏", WARN, "")
    };
    let ink = match &player.mode {
        Mode::Searching(text) => typed(" search: ", text),
        Mode::Going(text) => typed(" go to statement #", text),
        Mode::Watching | Mode::Help => {
            let (sign, style) = match player.motion {
                _ if player.live => ("●", WARN),
                Motion::Playing => ("▶", GOOD),
                Motion::Paused => ("‖", PLAIN),
            };
            let (first, last) = span(player);
            let millis = |from: f64, to: f64| when::lasted((to - from).max(0.0) as u64);
            let place = match player.step() {
                Some(step) => match step.kind {
                    Kind::Statement(_) => format!("#{} of {}", step.seq, player.steps.statements()),
                    _ => format!("{} statements", player.steps.statements()),
                },
                None => String::new(),
            };
            let clock = when::clock(crate::model::UnixMillis(player.now as i64));
            let ink = Ink::default()
                .say(" ", PLAIN, "")
                .say(sign, style, "")
                .say(&format!(" {}x  ", player.speed()), PLAIN, "")
                .say(&place, STRONG, "")
                .say(
                    &format!(
                        "  {clock}  {} of {}",
                        millis(first, player.now),
                        millis(first, last)
                    ),
                    SOFT,
                    "",
                );
            let said = match (&player.message, &player.matches) {
                (Some(message), _) => Some(message.clone()),
                (None, Some(matches)) => {
                    let more = if matches.whole { "" } else { ", searching" };
                    Some(format!(
                        "“{}”: {} found{more}",
                        matches.term,
                        matches.found.len()
                    ))
                }
                (None, None) => None,
            };
            match said {
                Some(said) => ink.say("  ", PLAIN, "").say(&said, WARN, ""),
                None => ink,
            }
        }
    };
    let keys = if room >= 90 {
        "space ← → d e / ? q"
    } else {
        "? help"
    };
    let ink = if ink.width() + keys.chars().count() + 3 <= room {
        let to = room - keys.chars().count() - 1;
        ink.pad(to).say(keys, SOFT, "")
    } else {
        ink
    };
    frame.render_widget(ink.line(), area);
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let width = area.width.min(66);
    let height = area.height.min(u16::try_from(KEYS.len()).unwrap_or(14) + 6);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let mut text: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(keys, says)| {
            let ink = Ink::default().say(&format!(" {keys}"), STRONG, "").pad(10);
            ink.say(says, PLAIN, "").line()
        })
        .collect();
    text.push(Line::default());
    text.push(
        Ink::default()
            .say(" ✓", GOOD, "")
            .say(" allowed  ", PLAIN, "")
            .say("✗", BAD, "")
            .say(" denied  ", PLAIN, "")
            .say("◆", WARN, "")
            .say(" held  ", PLAIN, "")
            .say("◌", WARN, "")
            .say(" observed  ", PLAIN, "")
            .say("!", BAD, "")
            .say(" failed  ", PLAIN, "")
            .say("▒", MASKED, "")
            .say(" masked", PLAIN, "")
            .line(),
    );
    text.push(
        Ink::default()
            .say(" Underlined in colour: ", SOFT, "")
            .say("\u{1b}", PLAIN, "")
            .say(" a character shown as text", SOFT, "")
            .line(),
    );
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL).title(" Keys ");
    frame.render_widget(Paragraph::new(text).block(block), place);
}
