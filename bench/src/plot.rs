//! The ratios as an SVG: one bar per figure and peer, on a logarithmic scale, so that twice as good and half as
//! good are equally long.

use crate::figures::Figures;
use crate::report::ratio;
use crate::server::Kind;
use std::fmt::Write;

const LABELS: f64 = 330.0;
/// Of a factor of ten.
const DECADE: f64 = 130.0;
const ROW: f64 = 26.0;
const TOP: f64 = 60.0;
/// Better and worse by more than this are cut.
const DECADES: (f64, f64) = (-1.0, 3.0);
const PEERS: [(Kind, &str); 2] = [(Kind::Etcd, "#4c72b0"), (Kind::Kine, "#dd8452")];

/// Draws how many times better than its peers datastore-proxy is.
pub fn ratios(figures: &Figures) -> String {
    let rows: Vec<(&str, [Option<f64>; 2])> = figures
        .names()
        .into_iter()
        .map(|name| (name, PEERS.map(|(peer, _)| ratio(figures, name, peer))))
        .filter(|(_, ratios)| ratios.iter().any(Option::is_some))
        .collect();
    let width = LABELS + DECADE * (DECADES.1 - DECADES.0) + 60.0;
    let height = TOP + ROW * rows.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">datastore-proxy: times better than etcd (blue) and kine \
         (orange)</text>\n"
    );
    for (power, label) in [
        (-1.0, "0.1"),
        (0.0, "1"),
        (1.0, "10"),
        (2.0, "100"),
        (3.0, "1000"),
    ] {
        let x = at(power);
        // Writing to a string can't fail.
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"44\" text-anchor=\"middle\">{label}×</text>\
             <line x1=\"{x}\" x2=\"{x}\" y1=\"50\" y2=\"{height}\" stroke=\"#ccc\"/>"
        );
    }
    for (number, (name, ratios)) in rows.iter().enumerate() {
        let y = TOP + ROW * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\">{}</text>",
            y + 13.0,
            escape(name)
        );
        for (lane, (ratio, (_, colour))) in ratios.iter().zip(PEERS).enumerate() {
            if let Some(ratio) = ratio {
                svg.push_str(&bar(y + 10.0 * lane as f64, *ratio, colour));
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(y: f64, ratio: f64, colour: &str) -> String {
    let one = at(0.0);
    let end = at(ratio.log10().clamp(DECADES.0, DECADES.1));
    let (x, width) = (one.min(end), (end - one).abs());
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"9\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{ratio:.2}</text>\n",
        one.max(end) + 3.0,
        y + 8.0
    )
}

fn at(power: f64) -> f64 {
    LABELS + DECADE * (power - DECADES.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
