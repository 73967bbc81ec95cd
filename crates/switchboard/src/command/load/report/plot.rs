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
    height: f64,
}

impl Plot {
    /// With axes; ticks are values with what they are called.
    pub(super) fn new(
        title: &str,
        about: &str,
        height: f64,
        (x, x_name, x_ticks): (Scale, &str, &[(f64, String)]),
        (y, y_name, y_ticks): (Scale, &str, &[(f64, String)]),
    ) -> Plot {
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\">\n<title>{0}</title>\n<desc>{1}</desc>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"head\" x=\"{LEFT}\" y=\"22\">{0}</text>\n",
            escaped(title),
            escaped(about),
        );
        let mut plot = Plot { out, x, y, height };
        let (bottom, right) = (height - BOTTOM, WIDTH - RIGHT);
        for (value, name) in x_ticks {
            let at = plot.at_x(*value);
            let _ = writeln!(
                plot.out,
                "<line class=\"rule\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\
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
            "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text class=\"tick\" transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            bottom + 38.0,
            escaped(x_name),
            (TOP + bottom) / 2.0,
            escaped(y_name),
        );
        plot
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.place(value) * (bottom - TOP)
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

    /// Which line is which, above the picture from the right.
    pub(super) fn legend(&mut self, names: &[String]) {
        let mut right = WIDTH - RIGHT;
        for (series, name) in names.iter().enumerate().rev() {
            // Letters are about half as wide as high; a little more does no harm.
            let width = name.chars().count() as f64 * 7.0;
            let _ = writeln!(
                self.out,
                "<text x=\"{right:.1}\" y=\"22\" text-anchor=\"end\">{}</text>\
                 <line class=\"line s{series}\" stroke-dasharray=\"{}\" x1=\"{:.1}\" y1=\"18\" x2=\"{:.1}\" y2=\"18\"/>",
                escaped(name),
                DASHES[series % DASHES.len()],
                right - width - 34.0,
                right - width - 6.0
            );
            right -= width + 52.0;
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
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
}
