//! Text for people: numbers with signs, wrapped lines and plain tables.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::peaker::Priority;
use tabled::settings::{Alignment, Padding, Style, Width};

/// Columns of text without a terminal.
pub(crate) const WIDTH: usize = 100;
/// Spaces between columns of a table.
const GAP: usize = 2;

/// Columns of text for stdout: the terminal's, or [`WIDTH`] without one.
pub(crate) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns))
}

/// Columns of text for stderr: the terminal's, or [`WIDTH`] without one.
pub(crate) fn stderr_width() -> usize {
    console::Term::stderr().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns))
}

/// A fraction in percent, without the noise of the product: .55 is 55, not 55.00000000000001.
pub(crate) fn percent(fraction: f64) -> f64 {
    (1e8 * fraction).round() / 1e6
}

/// A number with its sign and so many decimals; what rounds to 0 has the sign +.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let scale = 10f64.powi(decimals as i32);
    format!("{:+.decimals$}", (value * scale).round() / scale + 0.0)
}

/// The words of a text in lines of a width, the first after the spaces that it begins with, the later ones after so many; ends in
/// a new line.
pub(crate) fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let words = text.trim_start();
    let (mut lines, mut line) = (String::new(), " ".repeat(text.len() - words.len()));
    for (i, word) in words.split(' ').enumerate() {
        if i > 0 && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(indent);
        } else if i > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + line.trim_end() + "\n"
}

/// A table without lines, its header first; numbers, which begin in column `texts`, stand on the right. Cells are wrapped where
/// it is wider than `width`.
pub(crate) fn table(records: Vec<Vec<String>>, texts: usize, width: Option<usize>) -> String {
    let mut table = Builder::from_iter(records).build();
    table.with(Style::empty()).with(Padding::new(0, GAP, 0, 0)).modify(Columns::new(texts..), Alignment::right());
    if let Some(width) = width {
        // The last column's gap is cut off below.
        table.with(Width::wrap(width + GAP).keep_words(true).priority(Priority::max(true)));
    }
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Columns of text that a table takes where none of its cells is wrapped.
pub(crate) fn table_width(records: &[Vec<String>]) -> usize {
    let columns = records.first().map_or(0, Vec::len);
    let widest = |column: usize| records.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    (0..columns).map(widest).sum::<usize>() + GAP * columns.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        let text = "one two three four five";
        assert_eq!(wrapped(text, 100, 2), "one two three four five\n");
        assert_eq!(wrapped("  a      column", 100, 2), "  a      column\n");
        assert_eq!(wrapped(text, 9, 2), "one two\n  three\n  four\n  five\n");
        // A word longer than a line has one of its own.
        assert_eq!(wrapped("a incomprehensibilities b", 8, 0), "a\nincomprehensibilities\nb\n");
    }

    #[test]
    fn tables_keep_within_the_width() {
        let records = [["setting", "n"], ["a setting with a rather long name", "3"]];
        let table = table(records.map(|row| row.map(str::to_string).to_vec()).to_vec(), 1, Some(20));
        assert!(table.lines().all(|line| line.chars().count() <= 20), "{table}");
        assert!(table.starts_with("setting"), "{table}");
    }
}
