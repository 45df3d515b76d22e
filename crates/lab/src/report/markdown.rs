//! The report as Markdown: lines of at most 100 columns, rows of tables of at most 160. What the
//! report contains is decided elsewhere.

use textwrap::{Options, WordSplitter, wrap};

use super::{
    content::Content,
    experiment_info::ExperimentInfo,
    figure::Figure,
    table::{Table, cell},
};

/// The longest line of text, in columns.
const MAX_LINE_WIDTH: usize = 100;

/// The longest row of a table, in columns.
const MAX_ROW_WIDTH: usize = 160;

/// The whole report.
pub(crate) fn report(info: &ExperimentInfo<'_>, content: &Content) -> String {
    let mut text = format!("# {}\n", info.title());
    if !content.lead.is_empty() {
        text += &format!("\n{}", paragraph(&cell(&content.lead), "", ""));
    }
    let main = content.main_figure.and_then(|index| content.figures.get(index));
    text += &main.map(plot).unwrap_or_default();
    text += "\n## Results\n";
    content.results.iter().for_each(|shown| text += &format!("\n{}", table(shown)));
    text += "\n## Plots\n";
    let others = content.figures.iter().enumerate();
    let others = others.filter(|(index, _)| Some(*index) != content.main_figure);
    others.for_each(|(_, figure)| text += &plot(figure));
    text += "\n## Network\n";
    content.network.iter().for_each(|shown| text += &format!("\n{}", table(shown)));
    text += "\n## Experiment\n\n";
    for (name, value) in info.list() {
        text += &paragraph(&format!("{name}: {}", cell(&value)), "- ", "  ");
    }
    for remark in info.remarks() {
        text += &format!("\n{}", paragraph(&cell(&remark), "> ", "> "));
    }
    text += &format!("\n## Commands\n\n```\n{}```\n", command(&info.command()));
    for (title, commands) in info.run_commands() {
        let lines: String = commands.iter().map(|line| command(line)).collect();
        text += &format!("\n{}\n```\n{lines}```\n", paragraph(&format!("{title}:"), "", ""));
    }
    text
}

/// A figure with its caption below.
pub(crate) fn plot(figure: &Figure) -> String {
    let caption = paragraph(&cell(&figure.caption), "", "");
    format!("\n![{0}]({0}.svg)\n\n{caption}", figure.name)
}

/// A table with its title above and its note below. Columns that do not fit follow in further
/// tables, which repeat the columns that name the row.
pub(crate) fn table(table: &Table) -> String {
    let mut text = format!("### {}\n", cell(&table.title));
    for columns in column_groups(table) {
        text += &format!("\n{}", rows_of(table, &columns));
    }
    if !table.note.is_empty() {
        text += &format!("\n{}", paragraph(&table.note, "", ""));
    }
    text
}

/// The columns of each table that is written: all in one, if their rows are short enough.
fn column_groups(table: &Table) -> Vec<Vec<usize>> {
    let is_key = |column: &super::table::Column| !column.numbers || column.head == "users";
    let keys: Vec<usize> =
        (0..table.columns.len()).take_while(|&index| is_key(&table.columns[index])).collect();
    let mut groups = vec![keys.clone()];
    for index in keys.len()..table.columns.len() {
        let mut longer = groups.last().cloned().unwrap_or_default();
        let is_first = longer.len() == keys.len();
        longer.push(index);
        if is_first || row_width(table, &longer) <= MAX_ROW_WIDTH {
            groups.pop();
            groups.push(longer);
        } else {
            groups.push(keys.iter().copied().chain([index]).collect());
        }
    }
    groups
}

/// The width of the longest row of these columns.
fn row_width(table: &Table, columns: &[usize]) -> usize {
    rows_of(table, columns).lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// A table of GitHub Markdown with these columns.
fn rows_of(table: &Table, columns: &[usize]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let alignment = |index: &usize| if table.columns[*index].numbers { "---:" } else { "---" };
    let text_of = |text: &String| if text.is_empty() { "–".to_owned() } else { cell(text) };
    let mut text = row(columns.iter().map(|&index| cell(&table.columns[index].head)).collect());
    text += &row(columns.iter().map(|index| alignment(index).to_owned()).collect());
    for cells in &table.rows {
        text += &row(columns.iter().map(|&index| text_of(&cells[index])).collect());
    }
    text
}

/// Text in lines that fit, the first one behind `first` and the others behind `next`.
fn paragraph(text: &str, first: &str, next: &str) -> String {
    let options = Options::new(MAX_LINE_WIDTH)
        .initial_indent(first)
        .subsequent_indent(next)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    wrap(text, options).iter().map(|line| format!("{line}\n")).collect()
}

/// A command line, continued as in a shell where it is long.
fn command(line: &str) -> String {
    const CONTINUATION: &str = " \\";
    let options = Options::new(MAX_LINE_WIDTH - CONTINUATION.len())
        .subsequent_indent("    ")
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    wrap(line, options).join(&format!("{CONTINUATION}\n")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{numbers, words},
        *,
    };

    fn wide_table(cells: usize) -> Table {
        let heads = (0..cells).map(|index| numbers(&format!("value {index}")));
        Table {
            title: "T".into(),
            name: "t".into(),
            note: "A note. ".repeat(20),
            columns: [words("mode"), numbers("users")].into_iter().chain(heads).collect(),
            rows: vec![vec!["1.000 (0.900–1.100)".to_owned(); cells + 2]],
        }
    }

    #[test]
    fn a_table_is_written_as_markdown() {
        let shown = Table {
            title: "T".into(),
            name: "t".into(),
            note: "N.".into(),
            columns: vec![words("host"), numbers("a, b")],
            rows: vec![vec!["h|1 <b>".into(), "1.5".into()], vec!["=\"x\"".into(), String::new()]],
        };
        let expected = "### T\n\n| host | a, b |\n| --- | ---: |\n| h\\|1 &lt;b> | 1.5 |\n\
                        | =\"x\" | – |\n\nN.\n";
        assert_eq!(table(&shown), expected);
    }

    #[test]
    fn columns_that_do_not_fit_follow_with_the_names_of_their_rows() {
        let text = table(&wide_table(9));
        assert!(text.lines().all(|line| line.chars().count() <= MAX_ROW_WIDTH), "{text}");
        let heads: Vec<&str> =
            text.lines().filter(|line| line.starts_with("| mode | users")).collect();
        assert_eq!(heads.len(), 2, "{text}");
        let shown = (0..9).filter(|index| text.contains(&format!(" value {index} ")));
        assert_eq!(shown.count(), 9, "{text}");
    }

    #[test]
    fn text_and_commands_are_wrapped() {
        let text = paragraph(&"word ".repeat(50), "- ", "  ");
        assert!(text.lines().all(|line| line.len() <= MAX_LINE_WIDTH), "{text}");
        assert!(text.starts_with("- word") && text.contains("\n  word"), "{text}");
        let long = format!("h1: program {}", "--option value ".repeat(20).trim_end());
        let lines = command(&long);
        assert!(lines.lines().all(|line| line.len() <= MAX_LINE_WIDTH), "{lines}");
        assert_eq!(lines.replace(" \\\n    ", " ").trim_end(), long);
    }
}
