//! Tables of text.

/// How wide a line of an explanation may be.
pub(super) const WIDTH: usize = 118;

/// Rows in columns: the first two are aligned to the left, the others, which are numbers, to the right. The first row is the head.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// At most so many characters, the last of them `…` where something was cut.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text in lines of at most [`WIDTH`], all but the first indented.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = vec![];
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent) + word));
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.push(line);
    lines.join("\n")
}

/// A number with commas.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in milliseconds.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        100.0.. => format!("{ms:.0} ms"),
        1.0.. => format!("{ms:.1} ms"),
        _ => format!("{ms:.3} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_are_made_to_be_read() {
        assert_eq!([0, 7, 999, 1000, 6_001_215].map(number), ["0", "7", "999", "1,000", "6,001,215"]);
        assert_eq!([0.01234, 1.25, 1234.5].map(milliseconds), ["0.012 ms", "1.2 ms", "1234 ms"]);
        assert_eq!(shortened("abcdef", 4), "abc…");
        let long = "word ".repeat(60);
        assert!(wrapped(&long, 4).lines().all(|line| line.chars().count() <= WIDTH));
        assert!(wrapped(&long, 4).lines().skip(1).all(|line| line.starts_with("    word")));
        let rows = [vec!["a".to_string(), "b".to_string(), "12".to_string()], vec!["xyz".to_string(), "b".to_string(), "7".to_string()]];
        assert_eq!(aligned(&rows), "a    b  12\nxyz  b   7\n");
    }
}
