//! OpenMetrics text → the classic text format 0.0.4, for scrapers that ask for it.

use std::fmt::Write;

/// Counters and infos carry their suffix in HELP and TYPE here, and neither UNIT nor EOF exists.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // HELP comes before TYPE, so it waits until the type, and with it the suffix, is known.
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(out, "# HELP {name}{suffix} {text}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_infos_units_and_the_end_are_rewritten() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1.0\n\
             # HELP b Things.\n# TYPE b counter\nb_total{x=\"1\"} 2\n# HELP c Build.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let classic = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
             # HELP b_total Things.\n# TYPE b_total counter\nb_total{x=\"1\"} 2\n# HELP c_info Build.\n# TYPE c_info gauge\n\
             c_info{v=\"1\"} 1\n";
        assert_eq!(super::from_openmetrics(openmetrics), classic);
    }
}
