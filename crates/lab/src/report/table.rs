//! A table and its formats: CSV, HTML, text (Markdown is in `markdown`). What a table contains is
//! decided in `tables`.

use textwrap::core::display_width;

use super::escape::escaped;

/// Rows of texts under named columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its title.
    pub(crate) title: String,
    /// The name of its CSV file, without the ending; empty if it has none.
    pub(crate) name: String,
    /// The text below it, which explains the columns.
    pub(crate) note: String,
    pub(crate) columns: Vec<Column>,
    /// Each row has as many texts as there are columns.
    pub(crate) rows: Vec<Vec<String>>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) head: String,
    /// Whether it has numbers, which are aligned to the right.
    pub(crate) numbers: bool,
}

/// A column of words.
pub(crate) fn words(head: &str) -> Column {
    Column { head: head.to_owned(), numbers: false }
}

/// A column of numbers.
pub(crate) fn numbers(head: &str) -> Column {
    Column { head: head.to_owned(), numbers: true }
}

impl Table {
    /// Leaves out columns that are empty in all rows.
    pub(crate) fn without_empty_columns(mut self) -> Self {
        let is_kept: Vec<bool> = (0..self.columns.len())
            .map(|column| self.rows.iter().any(|row| !row[column].is_empty()))
            .collect();
        let mut keep_cells = |row: &mut Vec<String>| {
            let mut at = is_kept.iter();
            row.retain(|_| at.next().copied().unwrap_or(true));
        };
        self.rows.iter_mut().for_each(&mut keep_cells);
        let mut at = is_kept.iter();
        self.columns.retain(|_| at.next().copied().unwrap_or(true));
        self
    }

    /// Lines of text for a terminal, with the title above.
    pub(crate) fn text(&self) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| display_width(&row[index]));
            cells.chain([display_width(&self.columns[index].head)]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&self.columns).zip(&widths).map(|((cell, column), &width)| {
                // East Asian letters take two columns.
                let room = " ".repeat(width.saturating_sub(display_width(cell)));
                if column.numbers { room + cell } else { cell.to_owned() + &room }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let mut text = format!("{}\n\n", self.title);
        text += &line(&mut self.columns.iter().map(|column| &*column.head));
        for row in &self.rows {
            text += &line(&mut row.iter().map(|cell| if cell.is_empty() { "–" } else { cell }));
        }
        text
    }

    /// CSV as in RFC 4180, with a line of heads.
    pub(crate) fn csv(&self) -> String {
        let mut text = String::new();
        let heads: Vec<&str> = self.columns.iter().map(|column| column.head.as_str()).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(String::as_str).collect());
        for row in std::iter::once(heads).chain(rows) {
            text += &row.iter().map(|text| field(text)).collect::<Vec<_>>().join(",");
            text += "\r\n";
        }
        text
    }

    /// A `figure` element of HTML.
    pub(crate) fn html(&self) -> String {
        let mut text =
            format!("<figure class=\"table\"><h3>{}</h3><table><thead><tr>", escaped(&self.title));
        for column in &self.columns {
            text += &format!("<th{}>{}</th>", class(column), escaped(&column.head));
        }
        text += "</tr></thead><tbody>";
        for row in &self.rows {
            text += "<tr>";
            for (column, cell) in self.columns.iter().zip(row) {
                let cell = if cell.is_empty() { "–" } else { cell };
                text += &format!(
                    "<td{} data-head=\"{}\">{}</td>",
                    class(column),
                    escaped(&column.head),
                    with_range_below(column, cell)
                );
            }
            text += "</tr>";
        }
        text += "</tbody></table>";
        if !self.note.is_empty() {
            text += &format!("<figcaption>{}</figcaption>", escaped(&self.note));
        }
        text + "</figure>\n"
    }
}

fn class(column: &Column) -> &'static str {
    if column.numbers { " class=\"number\"" } else { "" }
}

/// A cell of HTML. In narrow columns, the range of a number is written below it.
fn with_range_below(column: &Column, cell: &str) -> String {
    match cell.split_once(" (") {
        Some((number, range)) if column.numbers && range.ends_with(')') => {
            format!(
                "<span>{} <span class=\"range\">({}</span></span>",
                escaped(number),
                escaped(range)
            )
        }
        _ => escaped(cell),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that is safe in a line of Markdown.
pub(crate) fn cell(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}

/// A text as a field of CSV.
fn field(text: &str) -> String {
    // A spreadsheet would read a text with this beginning as a formula.
    let text = if text.starts_with(['=', '@', '+']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "T".into(),
            name: "t".into(),
            note: "N.".into(),
            columns: vec![words("host"), numbers("a, b"), numbers("nothing")],
            rows: vec![
                vec!["h|1 <b>".into(), "1.5".into(), String::new()],
                vec!["=\"x\"".into(), String::new(), String::new()],
            ],
        }
        .without_empty_columns()
    }

    #[test]
    fn wide_letters_take_two_columns_of_a_terminal() {
        let rows = vec![vec!["本程序".into(), "3".into()], vec!["sow".into(), "12".into()]];
        let columns = vec![words("mode"), numbers("users")];
        let table = Table { title: "T".into(), columns, rows, ..Table::default() };
        assert_eq!(table.text(), "T\n\nmode    users\n本程序      3\nsow        12\n");
    }

    #[test]
    fn a_table_is_written_as_csv() {
        assert_eq!(table().csv(), "host,\"a, b\"\r\nh|1 <b>,1.5\r\n\"'=\"\"x\"\"\",\r\n");
    }

    #[test]
    fn a_table_is_written_as_html() {
        let html = table().html();
        for cell in [
            "<td data-head=\"host\">h|1 &lt;b&gt;</td>",
            "<td class=\"number\" data-head=\"a, b\">1.5</td>",
            "<td data-head=\"host\">=&quot;x&quot;</td>",
            "<td class=\"number\" data-head=\"a, b\">–</td>",
        ] {
            assert!(html.contains(cell), "{cell}: {html}");
        }
        assert!(!html.contains("nothing"));
    }
}
