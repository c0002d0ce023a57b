//! Accessibility checks with axe-core, for screen readers, keyboards and low vision. The package is
//! downloaded once into `target/` and is not part of the product.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha512};
use tokio::sync::OnceCell;

use super::page::BrowserPage;
use super::skipped::report_skipped;
use crate::harness::TempFolder;

/// The axe-core version (MPL-2.0), and the registry's hash of its package.
const VERSION: &str = "4.14.1";
const INTEGRITY: &str =
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// The script text, or `None` if it is not available.
static SCRIPT: OnceCell<Option<String>> = OnceCell::const_new();

/// Asserts that axe-core finds nothing serious on the page in its current state.
pub(super) async fn assert_accessible(page: &mut BrowserPage, what: &str) {
    let script = SCRIPT
        .get_or_init(|| async {
            tokio::task::spawn_blocking(load_script)
                .await
                .expect("the task ends")
        })
        .await;
    let Some(script) = script else {
        return report_skipped(
            "the check of accessibility: axe-core could not be fetched with npm or curl",
        );
    };
    page.eval(&format!("if (!globalThis.axe) {{ {script} }} 0"))
        .await;
    // An element that is fading has no contrast, but only for a second, so animations are finished
    // first.
    let run = "(async () => {
        const animate = Element.prototype.animate;
        Element.prototype.animate = () => ({cancel() {}, finish() {}});
        for (const animation of document.getAnimations()) if (animation.effect.getTiming().iterations === 1) animation.finish();
        const {violations} = await axe.run(document, {resultTypes: ['violations']});
        Element.prototype.animate = animate;
        return violations.map(({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map((node) => node.html + ' ' + node.failureSummary)}));
    })()";
    let found = page.eval(run).await;
    let is_grave =
        |violation: &&Value| violation["impact"] == "serious" || violation["impact"] == "critical";
    let serious: Vec<_> = found
        .as_array()
        .expect("a list")
        .iter()
        .filter(is_grave)
        .collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
}

fn load_script() -> Option<String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("axe-core-{VERSION}.min.js"));
    if let Ok(script) = fs::read_to_string(&kept) {
        return Some(script);
    }
    let folder = TempFolder::new();
    let package = download_package(folder.path())?;
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&package)
        .arg("-C")
        .arg(folder.path())
        .arg("package/axe.min.js")
        .status()
        .ok()?;
    let script = unpacked
        .success()
        .then(|| fs::read_to_string(folder.path().join("package/axe.min.js")).ok())??;
    // Write to a temporary name and rename, because another test may read the file.
    let half = kept.with_extension(std::process::id().to_string());
    fs::write(&half, &script)
        .and_then(|()| fs::rename(&half, &kept))
        .expect("target is writable");
    Some(script)
}

/// Downloads the package and returns it if its hash matches.
fn download_package(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(format!("axe-core-{VERSION}.tgz"));
    let url = format!("https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz");
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("axe-core@{VERSION}")])
        .current_dir(folder);
    let mut curl = Command::new("curl");
    curl.args(["-fsSL", "--max-time", "60", "-o"])
        .arg(&path)
        .arg(&url);
    for command in [&mut npm, &mut curl] {
        let _checked_by_its_output = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let Ok(bytes) = fs::read(&path) else { continue };
        let hash = STANDARD.encode(Sha512::digest(&bytes));
        assert_eq!(
            hash, INTEGRITY,
            "the downloaded file is not axe-core {VERSION}"
        );
        return Some(path);
    }
    None
}
