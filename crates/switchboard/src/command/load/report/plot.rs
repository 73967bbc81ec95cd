//! Axes, scales and lines of a figure, as SVG.

use std::fmt::Write;
use switchboard_lab::render::svg::escaped;

/// What colours and letters a figure has, light and dark.
pub(super) const STYLE: &str = include_str!("plot.css");

pub(super) const WIDTH: f64 = 960.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 50.0;
/// Dashes tell lines apart where colours do not.
const DASHES: [&str; 8] = ["", "7 3", "2 3", "10 3 2 3", "4 2", "12 4", "1 2", "6 2 2 2 2 2"];

/// How numbers become places.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    Linear(f64, f64),
    Log(f64, f64),
}

impl Scale {
    /// From 0 to 1.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear(least, most) => (value - least) / (most - least).max(f64::MIN_POSITIVE),
            Scale::Log(least, most) => {
                let log = |n: f64| n.max(f64::MIN_POSITIVE).log10();
                (log(value) - log(least)) / (log(most) - log(least)).max(f64::MIN_POSITIVE)
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// Powers of ten that hold these values.
    pub(super) fn decades(least: f64, most: f64) -> Scale {
        let low = 10_f64.powf(least.max(1e-9).log10().floor());
        let high = 10_f64.powf(most.max(1e-9).log10().ceil());
        Scale::Log(low, if high > low { high } else { low * 10.0 })
    }

    /// The powers of ten within.
    pub(super) fn tens(self) -> Vec<f64> {
        let (Scale::Linear(least, most) | Scale::Log(least, most)) = self;
        let first = least.max(1e-9).log10().round() as i32;
        (first..).map(|power| 10_f64.powi(power)).take_while(|ten| *ten <= most * 1.001).collect()
    }

    /// About five round numbers.
    pub(super) fn rounds(self) -> Vec<f64> {
        let (Scale::Linear(least, most) | Scale::Log(least, most)) = self;
        let rough = (most - least) / 5.0;
        if rough <= 0.0 || !rough.is_finite() {
            return vec![least];
        }
        let ten = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|n| n * ten).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (least / step).ceil() as i64;
        (first..).map(|n| n as f64 * step).take_while(|n| *n <= most * 1.0001).collect()
    }
}

/// A figure in the making.
pub(super) struct Plot {
    out: String,
    x: Scale,
    y: Scale,
    /// Of the picture between its axes.
    top: f64,
    height: f64,
}

impl Plot {
    /// With axes and a legend; ticks are values with what they are called, names those of lines by their series.
    pub(super) fn new(
        title: &str,
        about: &str,
        names: &[(usize, &str)],
        height: f64,
        (x, x_name, x_ticks): (Scale, &str, &[(f64, String)]),
        (y, y_name, y_ticks): (Scale, &str, &[(f64, String)]),
    ) -> Plot {
        let mut out = String::new();
        let (entries, more) = entries(title, names);
        let (top, height) = (TOP + more, height + more);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\">\n<title>{0}</title>\n<desc>{1}</desc>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"head\" x=\"{LEFT}\" y=\"22\">{0}</text>\n",
            escaped(title),
            escaped(about),
        );
        entries.iter().for_each(|entry| entry.draw(&mut out));
        let mut plot = Plot { out, x, y, top, height };
        let (bottom, right) = (height - BOTTOM, WIDTH - RIGHT);
        for (value, name) in x_ticks {
            let at = plot.at_x(*value);
            let _ = writeln!(
                plot.out,
                "<line class=\"rule\" x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                escaped(name)
            );
        }
        for (value, name) in y_ticks {
            let at = plot.at_y(*value);
            let _ = writeln!(
                plot.out,
                "<line class=\"rule\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                escaped(name)
            );
        }
        let _ = writeln!(
            plot.out,
            "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>\n\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text class=\"tick\" transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            bottom + 38.0,
            escaped(x_name),
            (top + bottom) / 2.0,
            escaped(y_name),
        );
        plot
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.place(value) * (bottom - self.top)
    }

    /// A line of series number `series`; a faint one stands behind another.
    pub(super) fn line(&mut self, series: usize, is_faint: bool, about: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.at_x(*x), self.at_y(*y));
        }
        let faint = if is_faint { " faint" } else { "" };
        let dashes = if is_faint { "1 3" } else { DASHES[series % DASHES.len()] };
        let _ = writeln!(
            self.out,
            "<path class=\"line s{}{faint}\" stroke-dasharray=\"{dashes}\" d=\"{path}\"><title>{}</title></path>",
            series % DASHES.len(),
            escaped(about)
        );
    }

    /// A filled rectangle between two corners, as strong as told.
    pub(super) fn cell(&mut self, from: (f64, f64), to: (f64, f64), strength: f64, about: &str) {
        let (left, right) = (self.at_x(from.0), self.at_x(to.0));
        let (bottom, top) = (self.at_y(from.1), self.at_y(to.1));
        let _ = writeln!(
            self.out,
            "<rect class=\"cell\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.2}\" height=\"{:.2}\" \
             fill-opacity=\"{strength:.2}\"><title>{}</title></rect>",
            right - left,
            bottom - top,
            escaped(about)
        );
    }

    /// A mark at the bottom: there were errors.
    pub(super) fn error(&mut self, x: f64, about: &str) {
        let (at, bottom) = (self.at_x(x), self.height - BOTTOM);
        let _ = writeln!(
            self.out,
            "<path class=\"error\" d=\"M{at:.1} {:.1}l5 9h-10z\"><title>{}</title></path>",
            bottom - 9.0,
            escaped(about)
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
}

/// A name in the legend.
#[derive(Clone, PartialEq, Debug)]
struct Entry {
    series: usize,
    name: String,
    x: f64,
    y: f64,
}

/// Length of the piece of line before a name, with the gap between.
const SAMPLE: f64 = 34.0;
/// Between names, and between rows of them.
const APART: f64 = 18.0;
/// Room for a letter: letters are about half as wide as high; a little more does no harm.
const LETTER: f64 = 7.0;
const TITLE_LETTER: f64 = 9.0;

impl Entry {
    /// How wide so many letters are, with the sample of the line.
    fn width(name: &str) -> f64 {
        SAMPLE + name.chars().count() as f64 * LETTER + APART
    }

    fn draw(&self, out: &mut String) {
        let Entry { series, name, x, y } = self;
        let series = series % DASHES.len();
        let _ = writeln!(
            out,
            "<line class=\"line s{series}\" stroke-dasharray=\"{}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            DASHES[series],
            y - 4.0,
            x + SAMPLE - 6.0,
            y - 4.0,
            x + SAMPLE,
            escaped(name)
        );
    }
}

/// Where names stand: beside the title, or in rows below it if there is no room; and how much room those take.
fn entries(title: &str, names: &[(usize, &str)]) -> (Vec<Entry>, f64) {
    let room = WIDTH - LEFT - RIGHT;
    let most = ((room - SAMPLE - APART) / LETTER) as usize;
    let cut = |name: &str| match name.chars().count() {
        count if count > most => name.chars().take(most - 1).chain(['…']).collect(),
        _ => name.to_owned(),
    };
    let names: Vec<(usize, String)> = names.iter().map(|(series, name)| (*series, cut(name))).collect();
    let whole: f64 = names.iter().map(|(_, name)| Entry::width(name)).sum();
    let beside = whole + title.chars().count() as f64 * TITLE_LETTER <= room;
    let (mut x, mut y) = if beside { (WIDTH - RIGHT - whole + APART, 22.0) } else { (LEFT, TOP) };
    let mut entries = Vec::new();
    for (series, name) in names {
        let width = Entry::width(&name);
        if x > LEFT && x + width - APART > WIDTH - RIGHT + 0.1 {
            (x, y) = (LEFT, y + APART);
        }
        entries.push(Entry { series, name, x, y });
        x += width;
    }
    (entries, if beside { 0.0 } else { y - TOP + APART })
}

/// A figure as a file of its own.
pub(super) fn alone(svg: &str) -> String {
    svg.replacen("<title>", &format!("<style>\n{STYLE}</style>\n<title>"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_ticks_are_where_they_belong() {
        let scale = Scale::decades(30_000.0, 2_000_000.0);
        assert_eq!(scale.tens(), [1e4, 1e5, 1e6, 1e7]);
        assert!((scale.place(1e4)).abs() < 1e-9 && (scale.place(1e7) - 1.0).abs() < 1e-9);
        assert_eq!(Scale::Linear(0.0, 10.0).rounds(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Scale::Linear(0.0, 0.0).rounds(), [0.0]);
    }

    #[test]
    fn names_stand_beside_the_title_or_in_rows_below_it() {
        let (few, more) = entries("Latency", &[(0, "one"), (2, "two")]);
        assert_eq!((few.len(), few[0].y, few[1].y, more), (2, 22.0, 22.0, 0.0));
        let long = "n".repeat(1_000);
        let names: Vec<(usize, &str)> = (0..12)
            .map(|series| (series, if series == 5 { long.as_str() } else { "a run of many" }))
            .collect();
        let (many, more) = entries("Latency", &names);
        assert!(
            more > 2.0 * APART && many.iter().all(|entry| entry.y > 22.0 && entry.y < TOP + more),
            "{many:?}"
        );
        for pair in many.windows(2) {
            let end = pair[0].x + Entry::width(&pair[0].name) - APART;
            assert!(end <= WIDTH - RIGHT + 0.1, "{pair:?}");
            assert!(pair[1].y > pair[0].y || pair[1].x >= end, "{pair:?}");
        }
        assert!(many[5].name.ends_with('…'));
    }
}
