/// Rows of text under heads, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).to_vec()] }
    }

    /// IMPORTANT: some cells were written by strangers: none reaches the terminal with a character that steers it.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        self.rows.push(cells.map(|cell| cell.chars().map(plain).collect()).to_vec());
    }

    /// The table, each line after `indent`.
    pub(crate) fn text(&self, indent: &str) -> String {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be_and_nothing_steers_the_terminal() {
        let mut table = Table::new(["who", "where"]);
        table.row(["alice".into(), "a\u{1b}[2J\nb".into()]);
        table.row(["b\u{f6}b".into(), String::new()]);
        assert_eq!(table.text(" "), " who    where\n alice  a\u{fffd}[2J\u{fffd}b\n b\u{f6}b\n");
    }
}
