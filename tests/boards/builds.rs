//! `ci/build-firmware` says where its images are.

use std::fs::{Permissions, create_dir_all, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mote_test_support::root;
use tempfile::TempDir;

#[test]
fn images_are_where_cargo_puts_them() {
    const TARGET: &str = "thumbv6m-none-eabi";
    let tools = TempDir::new().unwrap();
    let tool = |name: &str, script: &str| {
        let path = tools.path().join(name);
        write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    };
    // A compiler that has the target, and a cargo that tells its build folder.
    let library = tools.path().join("library");
    create_dir_all(&library).unwrap();
    write(library.join("libcore-1.rlib"), "").unwrap();
    tool("rustc", &format!("echo {}", library.display()));
    tool("cargo", "echo \"$CARGO_TARGET_DIR\" >\"$TOLD\"");
    let told = tools.path().join("told");
    let path = format!(
        "{}:{}",
        tools.path().display(),
        std::env::var("PATH").unwrap()
    );

    let work = TempDir::new().unwrap();
    let (work, default) = (work.path(), root().join("firmware/target"));
    let expected = [
        (None, default.clone()),
        (Some("/build/elsewhere"), "/build/elsewhere".into()),
        (
            Some("own/target"),
            work.canonicalize().unwrap().join("own/target"),
        ),
    ];
    for (folder, expected) in expected {
        let mut build = Command::new(root().join("ci/build-firmware"));
        build.args(["mote-size-probe", TARGET]).current_dir(work);
        build.env("PATH", &path).env("TOLD", &told);
        build.env_remove("CARGO_TARGET_DIR");
        build.envs(folder.map(|it| ("CARGO_TARGET_DIR", it)));
        let output = build.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let images = Path::new(printed.trim_end());
        let expected = expected.canonicalize().unwrap_or(expected);
        assert_eq!(images, expected.join(TARGET).join("release"), "{folder:?}");
        let told = std::fs::read_to_string(&told).unwrap();
        assert_eq!(Path::new(told.trim_end()), expected, "{folder:?}");
    }
}
