//! Packages of other languages, pinned by a file of the repository and installed once per content of that file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::parts::{Missing, target_dir};

/// What a program printed. An error when it does not end well.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(text)
}

/// Installs what `pins` says into a directory under `target` once per content of the pins.
pub fn install(name: &str, pins: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let home = target_dir().join("tmp/packages");
    fs::create_dir_all(&home)?;
    // Another test process may want the same.
    let lock = File::create(home.join(format!("{name}.lock")))?;
    lock.lock()?;
    let (dir, wanted) = (home.join(name), fs::read_to_string(pins)?);
    let stamp = dir.join("installed");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        install(&dir)?;
        fs::write(&stamp, wanted)?;
    }
    Ok(dir)
}

/// Installs what `package-lock.json` in `source` says. [`Missing`] when that cannot be done.
pub fn npm(name: &str, source: &Path) -> Result<PathBuf> {
    let installed = install(name, &source.join("package-lock.json"), |dir| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), dir.join(file))?;
        }
        let npm = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(npm).current_dir(dir)).map(drop)
    });
    installed.map_err(|why| {
        let part = format!("what {} pins ({why:#})", source.join("package-lock.json").display());
        Missing { part, mend: "npm ci there, with Node 20 or later" }.into()
    })
}
