//! Without Kubernetes: the units, the image.

use std::{fs, process::Command};

use switchyard_lab::parts::or_skip;

use super::{root, said};

fn missing() -> anyhow::Error {
    let part = "systemd-analyze".to_owned();
    anyhow::Error::new(switchyard_lab::parts::Missing { part, mend: "apt-get install systemd" })
}

fn units() -> [&'static str; 2] {
    ["switchyard.service", "switchyard-exporter.service"]
}

/// What `systemd-analyze security` says of a unit, its exposure from 0 (safe) to 10, is what the page says. Versions of
/// systemd count a little differently: with another one it may be more, but not much.
#[test]
fn the_systemd_units_are_as_hardened_as_the_page_says() {
    let page = fs::read_to_string(root().join("deploy/README.md")).unwrap();
    let (_, said_there) = page.split_once("`systemd-analyze security` of systemd ").expect("the sentence");
    let mut words = said_there.split([' ', ':', ',']).filter(|word| !word.is_empty());
    let (version, number) = (words.next().unwrap(), words.next().unwrap().parse::<f32>().unwrap());

    let ours = Command::new("systemd-analyze").arg("--version").output();
    let Some(ours) = or_skip(ours.map_err(|_| missing())) else { return };
    let same = said(&ours).starts_with(&format!("systemd {version} "));
    for unit in units() {
        let path = root().join("deploy/systemd").join(unit);
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(&path)
            .output()
            .unwrap();
        let told = said(&output);
        let (_, exposure) = told.split_once("Overall exposure level for").expect(&told);
        let exposure: f32 = exposure
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no number in {exposure}"));
        if same {
            assert!((exposure - number).abs() < 0.05, "{unit}: {exposure}, the page says {number}");
        }
        assert!(exposure < 2.0, "{unit}: {told}");
    }
}

/// systemd reads every line of the units.
#[test]
fn systemd_understands_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for unit in units() {
        let text = fs::read_to_string(root().join("deploy/systemd").join(unit)).unwrap();
        // What it starts must be there.
        let path = dir.path().join(unit);
        fs::write(&path, text.replace("/usr/local/bin/switchyard", "/bin/true")).unwrap();
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
        let Some(output) = or_skip(output.map_err(|_| missing())) else { return };
        // Other units of this machine are none of ours.
        let complaints: Vec<String> =
            said(&output).lines().filter(|line| line.contains(unit)).map(str::to_owned).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// The kubeconfig of the page, its files beside it, works in the exporter's unit: paths in it are relative to it, and only
/// what the unit lists lies there.
#[test]
fn the_exporters_unit_loads_every_file_that_the_kubeconfig_of_the_page_names() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (unit, page) =
        (read("deploy/systemd/switchyard-exporter.service"), read("deploy/helm/switchyard/README.md"));
    let (_, kubeconfig) = page.split_once("```yaml\napiVersion: v1\nkind: Config\n").expect("the kubeconfig");
    let (kubeconfig, _) = kubeconfig.split_once("```").unwrap();
    let mut named: Vec<&str> = ["certificate-authority: ", "tokenFile: "]
        .iter()
        .flat_map(|key| kubeconfig.split(key).skip(1))
        .map(|rest| rest.split([' ', '}']).next().unwrap())
        .collect();
    assert_eq!(named.len(), 4, "{kubeconfig}");
    named.push("kubeconfig");
    let mut loaded: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")).collect();
    let mut wanted: Vec<String> = named.iter().map(|file| format!("{file}:/etc/switchyard/{file}")).collect();
    wanted.sort_unstable();
    loaded.sort_unstable();
    assert_eq!(loaded, wanted);
    let installed = read("deploy/README.md");
    let line =
        installed.lines().find(|line| line.starts_with("install -m 0600 kubeconfig ")).expect("the command");
    assert!(named.iter().all(|file| line.split(' ').any(|word| word == *file)), "{line}");
}

/// The image has what `scripts/check-release` puts into the empty directory, and nothing else; it is built by the
/// toolchain of the repository.
#[test]
fn the_image_is_the_binary_and_certificates_alone() {
    let dockerfile = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let (build, image) = dockerfile.split_once("\nFROM scratch\n").expect("an image from scratch");
    let copied: Vec<&str> = image
        .lines()
        .filter_map(|line| line.strip_prefix("COPY --from=build "))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(copied, ["/etc/ssl/certs/ca-certificates.crt", "/switchyard"]);
    assert!(!image.contains("RUN") && !image.contains("ADD"), "{image}");
    assert!(image.contains("USER 65532:65532"), "{image}");
    let check = fs::read_to_string(root().join("scripts/check-release")).unwrap();
    for path in copied {
        assert!(check.contains(path), "scripts/check-release knows no {path}");
    }
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let (_, version) = build.split_once("FROM rust:").unwrap();
    let version = version.split('-').next().unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}.")), "rust:{version} builds the image");
}
