//! OpenMetrics text, line by line, as far as our own parts write it.

use std::borrow::Cow;

/// One line: `name{label="value",…} number`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub name: &'a str,
    labels: &'a str,
    pub value: f64,
}

/// The samples of a text. Comments, and lines that aren't samples, are passed over.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
}

/// A label of the first sample of that name in a text.
pub fn label(text: &str, name: &str, label: &str) -> Option<String> {
    let sample = samples(text).find(|sample| sample.name == name)?;
    sample.label(label).map(Cow::into_owned)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, labels, rest) = match line.find('{') {
        Some(start) => {
            let (labels, rest) = labels(line.get(start + 1..)?)?;
            (line.get(..start)?, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, "", rest)
        }
    };
    // What may follow the number, a timestamp or an exemplar, doesn't matter here.
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some(Sample {
        name,
        labels,
        value,
    })
}

/// What stands between the braces, and what follows them.
fn labels(text: &str) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

impl<'a> Sample<'a> {
    /// The value of a label.
    pub fn label(&self, wanted: &str) -> Option<Cow<'a, str>> {
        let mut rest = self.labels;
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            let value = after.get(..end)?;
            if name.trim_start_matches(',').trim() == wanted {
                return Some(unescaped(value));
            }
            rest = after.get(end + 1..)?;
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(line: &str) -> Sample<'_> {
        let found: Vec<_> = samples(line).collect();
        let [sample] = found.as_slice() else {
            panic!("{found:?}");
        };
        sample.clone()
    }

    #[test]
    fn labels_may_hold_anything() {
        let sample = only(r#"a_total{x="} \"1\" \\ \n,y=\"z",y="2"} 7 # {trace_id="c0ffee"} 0.1"#);
        assert_eq!((sample.name, sample.value), ("a_total", 7.0));
        assert_eq!(sample.label("x").unwrap(), "} \"1\" \\ \n,y=\"z");
        assert_eq!(sample.label("y").unwrap(), "2");
        assert_eq!(sample.label("z"), None);
        assert_eq!(only("b 1.5e3").value, 1500.0);
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        let text = "# HELP a b\n\na{x=\"1\" 2\na\nb{} NaN\nc{x=\"\n# EOF\nd 1\n";
        let names: Vec<_> = samples(text).map(|sample| sample.name).collect();
        assert_eq!(names, ["d"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "[a-z{}=\",\\\\ 0-9\n#é]*") {
            for sample in samples(&text) {
                let _ = sample.label("a");
            }
        }

        #[test]
        fn a_label_is_read_as_it_was_written(value in ".*", number in -1e9..1e9_f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // A line break that isn't \n would end the line for `lines`, and nobody writes one.
            prop_assume!(!value.contains('\r'));
            let line = format!("m{{a=\"b\",le=\"{escaped}\"}} {number}");
            let sample = only(&line);
            prop_assert_eq!(sample.label("le").unwrap(), value);
            prop_assert!((sample.value - number).abs() <= f64::EPSILON * number.abs());
        }
    }
}
