//! The documentation of this very version, so that the address of a gate or an alert is one that somebody can open at night.

use std::sync::OnceLock;

use axum::{
    body::Bytes,
    extract::Path,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::Problem;

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../docs/", $name)))),*]
    };
}

/// The pages by their file names, so that they find each other.
const PAGES: &[(&str, &str)] = pages![
    "api.md",
    "configuration.md",
    "exporter.md",
    "gates.md",
    "metrics.md",
    "replicas.md",
    "runbook.md",
    "safety.md",
    "sidecar.md",
    "simulate.md",
    "upgrade.md",
    "verdicts.md",
    "web.md",
];

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
     <meta name=\"viewport\" content=\"width=device-width\"><title>Switchyard</title>\
     <style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{text-align:left;\
     vertical-align:top;padding:.2em .6em;border-bottom:1px solid #ccc}:target{background:#ffd}</style>\n";

pub(super) async fn page(Path(name): Path<String>) -> Response {
    // Each is made once, however many ask.
    static MADE: [OnceLock<Bytes>; PAGES.len()] = [const { OnceLock::new() }; PAGES.len()];
    match PAGES.iter().zip(&MADE).find(|((page, _), _)| *page == name) {
        Some(((_, text), made)) => Html(made.get_or_init(|| render(text).into()).clone()).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "There is no such page.").into_response(),
    }
}

/// The page as HTML. A heading has the anchor that GitLab and GitHub give it; a link to what is not served is text.
fn render(text: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    let mut outside = false;
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => heading = Some((at, String::new())),
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, title)) = &mut heading {
                    title.push_str(text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((start, title)) = heading.take()
                    && let Event::Start(Tag::Heading { id, .. }) = &mut events[start]
                {
                    *id = Some(CowStr::from(anchor(&title)));
                }
            }
            Event::Start(Tag::Link { dest_url, .. }) if !served(dest_url) => {
                outside = true;
                events[at] = Event::Text("".into());
            }
            Event::End(TagEnd::Link) if outside => {
                outside = false;
                events[at] = Event::Text("".into());
            }
            _ => {}
        }
    }
    let mut out = HEAD.to_owned();
    html::push_html(&mut out, events.into_iter());
    out
}

fn served(link: &str) -> bool {
    let page = link.split('#').next().unwrap_or_default();
    page.is_empty() || page.contains("://") || PAGES.iter().any(|(name, _)| *name == page)
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn page(name: &str) -> String {
        let (_, text) =
            PAGES.iter().find(|(page, _)| *page == name).unwrap_or_else(|| panic!("no page {name}"));
        render(text)
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn every_link_between_pages_leads_somewhere() {
        let mut links = 0;
        for (name, _) in PAGES {
            for link in page(name).split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                if link.starts_with("http") {
                    continue;
                }
                let (to, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = page(if to.is_empty() { name } else { to });
                let found = anchor.is_empty() || target.contains(&format!(" id=\"{anchor}\""));
                assert!(found, "{name}: {link}");
                links += 1;
            }
        }
        assert!(links > 20, "{links}");
    }

    #[test]
    fn every_gate_and_every_alert_has_its_section() {
        let gates = page("gates.md");
        for gate in crate::model::Gate::ALL {
            assert!(gates.contains(&format!("<h2 id=\"{gate}\">")), "{gate}");
        }
        let mut alerts = 0;
        for file in fs::read_dir(root().join("alerts")).unwrap() {
            let path = file.unwrap().path();
            let text = if path.is_file() { fs::read_to_string(path).unwrap() } else { continue };
            for url in text.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: '")) {
                let linked = url.split_once("{{ end }}/").unwrap().1.trim_end_matches('\'');
                let (name, anchor) = linked.split_once('#').unwrap();
                // One alert speaks of a gate, whichever it is.
                let found = anchor.contains("{{") || page(name).contains(&format!("<h2 id=\"{anchor}\">"));
                assert!(found, "{url}");
                alerts += 1;
            }
        }
        assert!(alerts > 20, "{alerts}");
    }
}
