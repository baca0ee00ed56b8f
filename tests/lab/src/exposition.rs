//! A metrics page, as far as tests look at one.

type Labels = Vec<(String, String)>;

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

/// The samples of a page in Prometheus' text format or OpenMetrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
    text: String,
}

impl Page {
    /// Reads a page; lines that are no samples are left out.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
        Self { samples, text: text.to_owned() }
    }

    /// The page as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sum over the samples of `name` that have these labels among others; none when there is no such sample.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |own: &[(String, String)]| {
            labels.iter().all(|(name, value)| own.iter().any(|(n, v)| n == name && v == value))
        };
        let found = self.samples.iter().filter(|s| s.name == name && fits(&s.labels)).map(|s| s.value);
        found.reduce(|sum, value| sum + value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.trim_start_matches(',').split_once("=\"")?;
            let mut escaped = false;
            let close = quoted.find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            })?;
            labels.push((label.to_owned(), quoted[..close].to_owned()));
            rest = &quoted[close + 1..];
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_some_of_their_labels() {
        let page = Page::parse(
            "# HELP a b\na{x=\"1\",y=\"say \\\"}\\\"\"} 2\na{x=\"1\",y=\"z\"} 3 # {} 1\nb 1e3 17\na{x=\"2\"} +Inf\n# EOF",
        );
        assert_eq!(page.value("a", &[("x", "1")]), Some(5.0));
        assert_eq!(page.value("a", &[("y", "z"), ("x", "1")]), Some(3.0));
        assert_eq!(page.value("b", &[]), Some(1000.0));
        assert_eq!(page.value("a", &[("x", "2")]), Some(f64::INFINITY));
        assert_eq!(page.value("a", &[("x", "3")]), None);
    }
}
