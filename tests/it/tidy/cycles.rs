//! The check that no file imports itself, directly or through other files.
//!
//! An edge leads from a file to the file that defines a name it imports. A re-export is followed to
//! the definition. Paths into other crates are ignored, because cargo forbids cycles of crates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files::{assert_none, rust_files};
use super::modules::{Module, ModulePath, parse};

/// The text of each file, by its path.
type Texts = BTreeMap<String, String>;

/// The imports of each file.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// The modules of one crate.
#[derive(Default)]
struct Tree {
    modules: BTreeMap<ModulePath, Module>,
    /// The file of each module; an inline module has that of its parent.
    files: BTreeMap<ModulePath, String>,
}

/// Returns the imports within each crate. Every file that no other file declares is a crate's root.
fn imports(texts: &Texts) -> Edges {
    let mut edges = Edges::new();
    let mut known = BTreeSet::new();
    let (roots, others): (Vec<_>, Vec<_>) = texts
        .keys()
        .partition(|file| file.ends_with("/lib.rs") || file.ends_with("/main.rs"));
    for root in roots.into_iter().chain(others) {
        if known.contains(root) {
            continue;
        }
        let mut tree = Tree::default();
        tree.add(Vec::new(), root, folder_of(root, true), texts);
        known.extend(tree.files.values().cloned());
        tree.collect(&mut edges);
    }
    edges
}

/// Returns the groups of files that import one another.
fn cycles(edges: &Edges) -> Vec<Vec<String>> {
    let reachable: BTreeMap<_, _> = edges
        .keys()
        .map(|file| (file, reached_from(file, edges)))
        .collect();
    let mut groups = BTreeSet::new();
    for (file, reached) in &reachable {
        if reached.contains(*file) {
            let both = |other: &&String| {
                reachable
                    .get(other)
                    .is_some_and(|back| back.contains(*file))
            };
            groups.insert(reached.iter().filter(both).cloned().collect::<Vec<_>>());
        }
    }
    groups.into_iter().collect()
}

fn reached_from(file: &str, edges: &Edges) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
    while let Some(next) = open.pop() {
        for target in edges.get(next).into_iter().flatten() {
            if reached.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    reached
}

impl Tree {
    fn add(&mut self, path: ModulePath, file: &str, folder: PathBuf, texts: &Texts) {
        let Some(text) = texts.get(file) else {
            return;
        };
        for (inner, module) in parse(text) {
            let path = joined(&path, &inner);
            let folder = folder.join(inner.iter().collect::<PathBuf>());
            for (name, explicit) in &module.children {
                let found = match explicit {
                    Some(explicit) => vec![file_path(&folder_of(file, true).join(explicit))],
                    None => vec![
                        file_path(&folder.join(format!("{name}.rs"))),
                        file_path(&folder.join(name).join("mod.rs")),
                    ],
                };
                if let Some(child) = found.iter().find(|file| texts.contains_key(*file)) {
                    let is_door = child.ends_with("/mod.rs") || explicit.is_some();
                    let folder = folder_of(child, is_door);
                    self.add(
                        joined(&path, std::slice::from_ref(name)),
                        child,
                        folder,
                        texts,
                    );
                }
            }
            self.files.insert(path.clone(), file.to_owned());
            self.modules.insert(path, module);
        }
    }

    fn collect(&self, edges: &mut Edges) {
        for (path, module) in &self.modules {
            let imports = module.imports.iter().map(|import| &import.segments);
            for segments in imports.chain(&module.paths) {
                let target = self
                    .definition(path, segments, 0)
                    .map(|module| &self.files[&module]);
                if let Some(target) = target.filter(|target| **target != self.files[path]) {
                    edges
                        .entry(self.files[path].clone())
                        .or_default()
                        .insert(target.clone());
                }
            }
        }
    }

    /// Returns the module that defines what a path in `module` names. Returns `None` if it is in
    /// another crate, or if it is itself a module: importing a module's name uses nothing of it yet.
    fn definition(
        &self,
        module: &[String],
        segments: &[String],
        depth: usize,
    ) -> Option<ModulePath> {
        let (at, rest) = self.follow(module, segments, depth)?;
        rest.first().map(|_| at)
    }

    /// Follows a path as far as it leads through modules. Returns the module that it ends in, and
    /// the names that are left.
    fn follow<'a>(
        &'a self,
        module: &[String],
        segments: &'a [String],
        depth: usize,
    ) -> Option<(ModulePath, &'a [String])> {
        let (mut at, mut rest) = (module.to_vec(), segments);
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()?),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        let is_anchored = rest.len() < segments.len();
        while let Some((name, others)) = rest.split_first() {
            let child = joined(&at, std::slice::from_ref(name));
            if self.modules.contains_key(&child) {
                (at, rest) = (child, others);
                continue;
            }
            let here = &self.modules[&at];
            if name == "*" || here.defined.contains(name) {
                break;
            }
            match self.import(&at, name, depth + 1) {
                // An import of a module leads on; one of an item ends the path.
                Some((found, [])) => (at, rest) = (found, others),
                Some((found, _)) => return Some((found, rest)),
                // The name is another crate's, or a macro makes it.
                None => return None,
            }
        }
        let is_local = is_anchored || rest.len() < segments.len();
        is_local.then_some((at, rest))
    }

    /// Returns what the imports of a module mean by `name`, as [`Self::follow`] does.
    fn import(
        &self,
        module: &[String],
        name: &str,
        depth: usize,
    ) -> Option<(ModulePath, &[String])> {
        if depth > 8 {
            return None;
        }
        let imports = &self.modules[module].imports;
        let mut named = imports
            .iter()
            .filter(|import| import.name == name && import.segments != [name]);
        if let Some(found) = named.find_map(|import| self.follow(module, &import.segments, depth)) {
            return Some(found);
        }
        let globs = imports.iter().filter(|import| import.name == "*");
        globs.into_iter().find_map(|import| {
            let (at, rest) = self.follow(module, &import.segments, depth)?;
            let is_module = rest.len() == 1 && at != module;
            if is_module && self.modules[&at].defined.contains(name) {
                return Some((at, rest));
            }
            is_module
                .then(|| self.import(&at, name, depth + 1))
                .flatten()
        })
    }
}

fn joined(path: &[String], more: &[String]) -> ModulePath {
    [path, more].concat()
}

/// Returns the folder of a file, or the folder of its child modules if that is another one.
fn folder_of(file: &str, is_door: bool) -> PathBuf {
    let path = Path::new(file);
    if is_door {
        path.parent().map(Path::to_owned).unwrap_or_default()
    } else {
        path.with_extension("")
    }
}

/// Returns a path as text, without `.` and `..`.
fn file_path(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part.as_os_str().to_string_lossy().as_ref() {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

#[test]
fn no_file_imports_itself() {
    let texts = rust_files()
        .into_iter()
        .map(|file| (file.path, file.text))
        .collect();
    let found = cycles(&imports(&texts)).into_iter();
    assert_none(
        found.map(|group| group.join(" ↔ ")).collect(),
        "files import one another",
    );
}

mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let texts = files
            .iter()
            .map(|(file, text)| (format!("a/{file}.rs"), (*text).to_owned()));
        cycles(&imports(&texts.collect()))
    }

    #[test]
    fn cycle_is_found_through_any_kind_of_import() {
        for (lib, one, two) in [
            (
                "mod one; mod two;",
                "use crate::two::B; struct A;",
                "use super::one::A; struct B;",
            ),
            (
                "mod one; mod two; use one::A;",
                "fn f() { crate::two::b() } struct A;",
                "use super::A; fn b() {}",
            ),
            (
                "mod one; mod two;",
                "use crate::{two::{self as t, C}, x}; struct A;",
                "use crate::one; fn f(a: one::A) {} struct C;",
            ),
            (
                "mod one; mod two; pub use two::*;",
                "use crate::B; struct A;",
                "use crate::one::*; struct B;",
            ),
        ] {
            let cycle = vec!["a/one.rs".to_owned(), "a/two.rs".to_owned()];
            assert_eq!(
                found(&[("lib", lib), ("one", one), ("two", two)]),
                [cycle],
                "{one}"
            );
        }
    }

    #[test]
    fn file_that_defines_a_name_and_imports_its_user_is_a_cycle() {
        let lib = "mod one; use one::A; pub struct B;";
        assert_eq!(
            found(&[("lib", lib), ("one", "use crate::B; pub struct A;")]).len(),
            1
        );
    }

    #[test]
    fn re_export_is_no_import_of_the_file_that_lists_it() {
        let lib = "mod one; mod two; pub use one::A; pub use two::B;";
        let lib = &format!("{lib} pub use other::D;");
        let two = "// use crate::two::C;\nuse crate::{A, D}; use other::crate_::B; pub struct B; const T: &str = \"use crate::one::A\";";
        assert_eq!(
            found(&[("lib", lib), ("one", "pub struct A;"), ("two", two)]),
            [[""; 0]; 0]
        );
    }

    #[test]
    fn modules_are_found_in_folders_by_attribute_and_inline() {
        let files = [
            ("lib", "mod one;"),
            (
                "one/mod",
                "mod two; #[cfg(test)] #[path = \"far.rs\"] mod tests; pub(crate) fn a<'b>() { two::c('\\'') }",
            ),
            (
                "one/two",
                "pub(super) fn c(_: char) {} mod inner { use super::super::a; }",
            ),
            ("one/far", "use super::*;"),
        ];
        assert_eq!(found(&files), [["a/one/mod.rs", "a/one/two.rs"]]);
    }
}
