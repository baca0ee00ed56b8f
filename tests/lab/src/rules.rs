//! The shipped rules and the shipped Alertmanager route, made quick by the replacements of `tests/fixtures`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::parts;

/// Every shipped rule file, sorted.
pub fn files() -> Result<Vec<PathBuf>> {
    let dir = parts::root().join("alerts");
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(".rules.yml"))
        .collect();
    paths.sort();
    ensure!(!paths.is_empty(), "no rules in {}", dir.display());
    Ok(paths)
}

/// The text of every shipped rule file, with windows and holds of seconds instead of minutes.
pub fn fast() -> Result<Vec<String>> {
    let texts = files()?.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    replace(&texts, &fs::read_to_string(parts::root().join("tests/fixtures/fast-rules.txt"))?)
}

/// The shipped Alertmanager configuration, for a Switchyard at `address` that knows the token in the file `token`.
pub fn route(address: SocketAddr, token: &Path) -> Result<String> {
    let path = parts::root().join("alerts/alertmanager-route.yml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = format!(
        "http://127.0.0.1:9797/\thttp://{address}/\n\
         credentials_file: switchyard-webhook-token\tcredentials_file: {}\n\
         group_wait: 1s\tgroup_wait: 0s\n\
         group_interval: 10s\tgroup_interval: 1s\n",
        token.display()
    );
    Ok(replace(&[text], &pairs)?.concat())
}

/// Applies lines of `from TAB to`. Each must occur, or the list no longer fits the rules.
fn replace(texts: &[String], pairs: &str) -> Result<Vec<String>> {
    let mut texts = texts.to_vec();
    for line in pairs.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (from, to) = line.split_once('\t').with_context(|| format!("{line:?} has no tab"))?;
        ensure!(texts.iter().any(|text| text.contains(from)), "no rule has {from:?}");
        for text in &mut texts {
            *text = text.replace(from, to);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_replacement_must_fit() {
        let texts = ["a[90s]".to_owned(), "for: 1m".to_owned()];
        assert_eq!(
            replace(&texts, "# why\n[90s]\t[20s]\nfor: 1m\tfor: 3s\n").unwrap(),
            ["a[20s]", "for: 3s"]
        );
        assert!(fast().unwrap().iter().any(|text| text.contains("SwitchyardFailover")));
        let route = route(([127, 0, 0, 1], 4711).into(), Path::new("/run/token")).unwrap();
        assert!(route.contains("http://127.0.0.1:4711/api/v1/alerts") && !route.contains(":9797"), "{route}");
        assert!(replace(&texts, "[5m]\t[1m]").unwrap_err().to_string().contains("[5m]"));
    }
}
