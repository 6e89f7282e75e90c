//! Draws a curve in the terminal.

use std::fmt::Write as _;

/// The size of a curve, in characters.
const WIDTH: usize = 60;
const HEIGHT: usize = 8;

/// A curve of ascending values, above labels for the first and the last one. `ascii`: without block characters.
pub(crate) fn draw(values: &[usize], labels: (&str, &str), ascii: bool) -> String {
    let top = values.iter().copied().max().unwrap_or(0);
    if top == 0 {
        return String::new();
    }
    let columns = values.len().clamp(1, WIDTH);
    // A column shows the last of its values. With few values, columns are wider.
    let wide = (WIDTH / columns).clamp(1, 4);
    let column = |index: usize| values[(index + 1) * values.len() / columns - 1];
    let eighths = |value: usize| value * HEIGHT * 8 / top;
    let margin = top.to_string().len();
    let mut text = String::new();
    for row in (0..HEIGHT).rev() {
        let beside = match row {
            row if row == HEIGHT - 1 => top.to_string(),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let mut line = format!("{beside:>margin$} {}", if ascii { '|' } else { '│' });
        for index in 0..columns {
            let filled = eighths(column(index)).saturating_sub(row * 8).min(8);
            let block = block(filled, ascii);
            line.extend(std::iter::repeat_n(block, wide));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let width = (columns * wide).max(labels.0.len() + labels.1.len() + 1);
    let gap = width - labels.0.len();
    let _ = writeln!(text, "{:margin$}  {}{:>gap$}", "", labels.0, labels.1);
    text
}

/// A character that is filled from below by this many eighths.
fn block(eighths: usize, ascii: bool) -> char {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    match (ascii, eighths) {
        (true, 0..=2) => ' ',
        (true, 3..=6) => '.',
        (true, _) => '#',
        (false, eighths) => BLOCKS[eighths.min(8)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_its_greatest_value() {
        assert_eq!(
            draw(&[4, 6, 8], ("run 1", "run 3"), true),
            "8 |        ####\n  |        ####\n  |    ########\n  |    ########\n  |############\n  |############\n  \
             |############\n0 |############\n   run 1  run 3\n"
        );
        let blocks = draw(&[1, 16], ("", ""), false);
        assert!(blocks.contains("0 │▄▄▄▄████"), "{blocks}");
        assert_eq!(draw(&[], ("a", "b"), true), "");
        assert_eq!(draw(&[0], ("a", "b"), true), "");
    }

    #[test]
    fn many_values_share_columns_and_the_last_is_shown() {
        let values: Vec<usize> = (1..=1000).collect();
        let drawn = draw(&values, ("first", "last"), true);
        let first = drawn.lines().next().unwrap();
        assert!(
            first.starts_with("1000 |") && first.ends_with('#'),
            "{drawn}"
        );
        assert!(drawn.lines().all(|line| line.chars().count() <= WIDTH + 6));
    }
}
