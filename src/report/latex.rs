//! The table for a paper, with the rules of booktabs.

use super::exporter::Exporter;
use super::{Report, table};

/// Columns that a page has no room for.
const LEFT_OUT: [&str; 6] = ["best %", "ms/step", "step/SGD", "theory (b)/SGD", "s to target", "front"];

pub(super) const LATEX: Exporter = Exporter {
    name: "latex",
    about: "A table for a paper, with booktabs",
    extension: "tex",
    is_text: true,
    is_kept: false,
    export: |report, _| Ok(table(report).into_bytes()),
};

/// A floating table on its side with its notes below, shrunk to the page where it is wider.
fn table(report: &Report) -> String {
    let grid = table::grid(report);
    let Some((header, records)) = grid.records.split_first() else { return String::new() };
    let is_shown = |column: &usize| !LEFT_OUT.contains(&header[*column].as_str());
    let shown: Vec<usize> = (0..header.len()).filter(is_shown).collect();
    let line = |record: &Vec<String>| {
        let texts: Vec<String> = shown.iter().map(|column| escaped(&record[*column])).collect();
        format!("      {} \\\\\n", texts.join(" & "))
    };
    let alignment: String = shown.iter().map(|column| if *column < grid.texts { 'l' } else { 'r' }).collect();
    let rows: String = records.iter().map(line).collect();
    let head = table::head(report, &grid).split_off(1);
    let notes: Vec<String> = head.into_iter().chain(table::notes(report)).collect();
    let is_told = |note: &&String| !LEFT_OUT.iter().any(|column| note.starts_with(&format!("{column}: ")));
    let notes: String = notes.iter().filter(is_told).map(|note| format!("    {}\\par\n", escaped(note))).collect();
    format!(
        "% Needs \\usepackage{{booktabs,graphicx,rotating}}.
\\begin{{sidewaystable}}
  \\centering
  \\caption{{{title}}}
  \\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%
    \\begin{{tabular}}{{{alignment}}}
      \\toprule
{header}      \\midrule
{rows}      \\bottomrule
    \\end{{tabular}}}}
  \\par\\medskip
  \\begin{{minipage}}{{\\linewidth}}
    \\scriptsize\\raggedright
{notes}  \\end{{minipage}}
\\end{{sidewaystable}}
",
        title = escaped(&table::title(report)),
        header = line(header),
    )
}

/// Text as LaTeX prints it: nothing in it is a command, a minus is a minus and a range of numbers has its dash.
fn escaped(text: &str) -> String {
    if text == "-" { "--".into() } else { text.split_inclusive(' ').map(escaped_word).collect() }
}

fn escaped_word(word: &str) -> String {
    let characters: Vec<char> = word.chars().collect();
    let digit = |place: Option<usize>| place.and_then(|p| characters.get(p)).is_some_and(char::is_ascii_digit);
    // Names and dates have hyphens.
    let between = |place: usize| characters[place] == '-' && digit(Some(place + 1)) && digit(place.checked_sub(1));
    let is_date = (0..characters.len()).filter(|place| between(*place)).count() > 1;
    let is_number = !is_date && !word.contains(|c: char| c.is_alphabetic());
    let escape = |(place, c): (usize, &char)| match c {
        '\\' => r"\textbackslash{}".into(),
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        '~' => r"\textasciitilde{}".into(),
        '^' => r"\textasciicircum{}".into(),
        '<' => r"\textless{}".into(),
        '>' => r"\textgreater{}".into(),
        '|' => r"\textbar{}".into(),
        '±' => r"$\pm$".into(),
        '-' if is_number && between(place) => "--".into(),
        '-' if is_number && digit(Some(place + 1)) => "$-$".into(),
        c => c.to_string(),
    };
    characters.iter().enumerate().map(escape).collect()
}
