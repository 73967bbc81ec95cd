//! [`Canvas`]: one line of characters with styles, to be painted over.

use anstyle::Style;
use std::fmt::Write;

#[derive(Clone, Debug)]
pub(super) struct Canvas {
    cells: Vec<(char, Style)>,
}

impl Canvas {
    /// A line of blanks.
    pub(super) fn new(width: usize) -> Canvas {
        Canvas { cells: vec![(' ', Style::new()); width] }
    }

    /// Paints `text` from column `x` on; what does not fit is left out.
    pub(super) fn put(&mut self, x: usize, text: &str, style: Style) {
        for (cell, sign) in self.cells.iter_mut().skip(x).zip(text.chars()) {
            *cell = (sign, style);
        }
    }

    /// What is painted, without blanks at the end.
    fn painted(&self) -> &[(char, Style)] {
        let end = self.cells.iter().rposition(|(sign, _)| *sign != ' ').map_or(0, |last| last + 1);
        &self.cells[..end]
    }

    /// The line without styles.
    pub(super) fn plain(&self) -> String {
        self.painted().iter().map(|(sign, _)| *sign).chain(['\n']).collect()
    }

    /// The line with its styles as escapes.
    pub(super) fn styled(&self) -> String {
        let mut text = String::new();
        let mut rest = self.painted();
        while let Some((_, style)) = rest.first() {
            let run = rest.iter().take_while(|(sign, other)| other == style || *sign == ' ').count().max(1);
            let signs: String = rest[..run].iter().map(|(sign, _)| *sign).collect();
            // A plain run has no escapes at all.
            let _ = write!(text, "{style}{signs}{style:#}");
            rest = &rest[run..];
        }
        text.push('\n');
        text
    }
}
