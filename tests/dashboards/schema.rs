//! The dashboards as constants of Grafana's own types, compiled with TypeScript.

use std::{fs, path::Path, process::Command};

use switchyard_lab::{
    packages::{npm, run},
    parts::or_skip,
};

use super::{dashboards, folder};

#[test]
fn grafanas_types_take_every_dashboard() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboards/node");
    let Some(home) = or_skip(npm("grafana-schema", &source)) else { return };
    // Node looks for packages in the directories above, too.
    let dir = tempfile::Builder::new().prefix("dashboards-").tempdir_in(&home).unwrap();
    for file in ["tsconfig.json", "types.ts", "refused.ts"] {
        fs::copy(source.join(file), dir.path().join(file)).unwrap();
    }
    for name in dashboards().keys() {
        let json = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let constant = format!(
            "import type {{ Dashboard }} from './types';\nexport const dashboard: Dashboard = {json};\n"
        );
        fs::write(dir.path().join(format!("dashboard-{name}.ts")), constant).unwrap();
    }
    let compile = || {
        let mut compile = Command::new("node");
        run(compile.arg(home.join("node_modules/typescript/bin/tsc")).arg("--project").arg(dir.path()))
    };
    compile().unwrap();

    // What refuses nothing proves nothing: a word that no Grafana knows, deep in a panel.
    let broken = dir.path().join("dashboard-self.ts");
    let json = fs::read_to_string(&broken).unwrap();
    fs::write(&broken, json.replacen("\"graphMode\": \"none\"", "\"graphMode\": \"nothing\"", 1)).unwrap();
    let refused = compile().unwrap_err().to_string();
    assert!(refused.contains("'\"nothing\"' is not assignable"), "{refused}");
}
