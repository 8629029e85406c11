//! Python environments for tests that need packages, made on first use and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{run, target};

/// The interpreter of an environment that has what `requirements` (a requirements.txt) pins.
///
/// It is kept in a folder `name` of the target folder for as long as the requirements do not change.
/// The error is a sentence that says what is missing on this machine.
pub fn environment(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let cache = target().with_file_name("tmp");
    fs::create_dir_all(&cache)
        .map_err(|cause| format!("{} cannot be made: {cause}", cache.display()))?;
    let folder = cache.join(name);
    let python = folder.join("bin/python");
    let installed = folder.join("installed.txt");
    let wanted = fs::read(requirements)
        .map_err(|cause| format!("{} cannot be read: {cause}", requirements.display()))?;

    // Tests run side by side, in threads or in processes; one of them makes it.
    let lock = cache.join(format!("{name}.lock"));
    let lock_file = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|cause| format!("{} cannot be locked: {cause}", lock.display()))?;
    let usable = fs::read(&installed).is_ok_and(|found| found == wanted)
        // An upgrade of the system's Python leaves an environment without its interpreter.
        && run(Command::new(&python).args(["-c", "import pip"])).is_ok();
    if !usable {
        make(&folder)?;
        install(&python, requirements)?;
        fs::write(&installed, &wanted)
            .map_err(|cause| format!("{} cannot be written: {cause}", installed.display()))?;
    }
    drop(lock_file);
    Ok(python)
}

fn make(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .map_err(|cause| format!("{} cannot be removed: {cause}", folder.display()))?;
    }
    run(Command::new("python3").arg("--version")).map_err(|cause| {
        format!("This test needs python3: install it (Debian package python3). {cause}")
    })?;
    // Debian splits both modules, or the second, off the standard library.
    run(Command::new("python3").args(["-c", "import venv, ensurepip"])).map_err(|cause| {
        format!(
            "python3 of this machine cannot make virtual environments: install the Debian package \
             python3-venv. {cause}"
        )
    })?;
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .map(drop)
        .map_err(|cause| format!("The Python environment cannot be made: {cause}"))
}

fn install(python: &Path, requirements: &Path) -> Result<(), String> {
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(requirements))
    .map(drop)
    .map_err(|cause| {
        format!(
            "pip cannot install {}; it needs a package index in reach. {cause}",
            requirements.display()
        )
    })
}
