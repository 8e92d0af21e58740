//! Reads the rooms: their order, their kind, and their parsed files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use syn::{Attribute, Expr, Item, Lit, Meta};

use super::names;

/// What a room's or a file's doc claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pure,
    Io,
}

/// One room, in import order.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// One source file.
pub(super) struct File {
    /// As printed: relative to the repository.
    pub(super) path: String,
    /// The room's index; `None` for `lib.rs` and `main.rs`, which stand outside the order.
    pub(super) room: Option<usize>,
    /// What the file claims for itself.
    pub(super) kind: Option<Kind>,
    pub(super) syntax: syn::File,
}

/// A crate's rooms and files.
pub(super) struct Rooms {
    pub(super) rooms: Vec<Room>,
    pub(super) files: Vec<File>,
}

/// Reads a crate whose `lib.rs` declares rooms. `shown` is how paths are printed.
pub(super) fn read(source: &Path, shown: &str) -> Result<Rooms> {
    let mut files = read_files(source, shown)?;
    let tests: Vec<String> = files.iter().flat_map(test_modules).collect();
    files.retain(|file| {
        !tests.iter().any(|module| {
            let rest = file.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    });
    let lib = format!("{shown}/lib.rs");
    let map = files
        .iter()
        .find(|file| file.path == lib)
        .with_context(|| format!("no {lib}"))?;
    let names = declared(&map.syntax);
    let mut rooms = Vec::new();
    for name in names {
        let fronts = [
            format!("{shown}/{name}/mod.rs"),
            format!("{shown}/{name}.rs"),
        ];
        let front = files.iter().find(|file| fronts.contains(&file.path));
        let front = front.with_context(|| format!("{lib}: room {name} has no file"))?;
        let Some(kind) = front.kind else {
            bail!(
                "{}: the doc of a room begins with `Pure.` or `IO.`",
                front.path
            );
        };
        rooms.push(Room { name, kind });
    }
    for file in &mut files {
        let inside = file
            .path
            .strip_prefix(shown)
            .unwrap_or_default()
            .trim_start_matches('/');
        let first = inside.split('/').next().unwrap_or_default();
        let first = first.strip_suffix(".rs").unwrap_or(first);
        file.room = rooms.iter().position(|room| room.name == first);
        if file.room.is_none()
            && !matches!(inside, "lib.rs" | "main.rs")
            && !inside.starts_with("cli/")
        {
            bail!("{}: belongs to no room that lib.rs declares", file.path);
        }
    }
    Ok(Rooms { rooms, files })
}

/// Parses every file under a directory, in the order of their paths.
pub(super) fn read_files(source: &Path, shown: &str) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(source)
        .with_context(|| format!("cannot read {}", source.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let shown = format!("{shown}/{}", entry.file_name().to_string_lossy());
        if path.is_dir() {
            files.extend(read_files(&path, &shown)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(parse(&fs::read_to_string(&path)?, &shown)?);
        }
    }
    Ok(files)
}

/// Parses one file.
pub(super) fn parse(text: &str, shown: &str) -> Result<File> {
    let syntax = syn::parse_file(text)
        .map_err(|error| anyhow::anyhow!("{shown}:{}: {error}", error.span().start().line))?;
    let kind = kind(&syntax.attrs);
    Ok(File {
        path: shown.to_owned(),
        room: None,
        kind,
        syntax,
    })
}

/// The modules in files of their own that a file declares for tests only: paths without `.rs`.
fn test_modules(file: &File) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let front = ["/mod", "/lib", "/main"]
        .iter()
        .find_map(|name| stem.strip_suffix(name));
    let base = front.unwrap_or(stem);
    let module = |item: &Item| match item {
        Item::Mod(module) if module.content.is_none() && names::only_in_tests(&module.attrs) => {
            Some(format!("{base}/{}", module.ident))
        }
        _ => None,
    };
    file.syntax.items.iter().filter_map(module).collect()
}

/// The modules that a `lib.rs` declares, in order; test modules are none of the rooms.
fn declared(lib: &syn::File) -> Vec<String> {
    let module = |item: &Item| match item {
        Item::Mod(module) if module.content.is_none() && !names::only_in_tests(&module.attrs) => {
            Some(module.ident.to_string())
        }
        _ => None,
    };
    lib.items.iter().filter_map(module).collect()
}

/// The first word of the file's doc.
fn kind(attributes: &[Attribute]) -> Option<Kind> {
    let first = attributes.iter().find_map(doc)?;
    match first
        .split_whitespace()
        .next()?
        .trim_end_matches(['.', ',', ':', ';'])
    {
        "Pure" => Some(Kind::Pure),
        "IO" => Some(Kind::Io),
        _ => None,
    }
}

fn doc(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    if !pair.path.is_ident("doc") {
        return None;
    }
    match &pair.value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_without_its_first_word_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("lib.rs", "pub mod model;\n");
        write("model.rs", "//! Words.\n");
        assert!(read(dir.path(), "src").is_err());
        write("model.rs", "//! Pure. Words.\n");
        assert_eq!(read(dir.path(), "src").unwrap().rooms.len(), 1);
        write("stray.rs", "");
        let error = read(dir.path(), "src")
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains("belongs to no room"), "{error}");
    }

    #[test]
    fn the_rooms_are_in_the_order_of_their_declaration_and_test_files_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("lib.rs", "pub mod wire;\npub mod clock;\n");
        fs::create_dir(dir.path().join("wire")).unwrap();
        write("wire/mod.rs", "//! Pure. x\n#[cfg(test)]\nmod tests;\n");
        write("wire/tests.rs", "use std::fs;\n");
        write("clock.rs", "//! IO. x\n");
        let rooms = read(dir.path(), "src").unwrap();
        let names: Vec<_> = rooms
            .rooms
            .iter()
            .map(|room| (room.name.as_str(), room.kind))
            .collect();
        assert_eq!(names, [("wire", Kind::Pure), ("clock", Kind::Io)]);
        assert!(
            !rooms
                .files
                .iter()
                .any(|file| file.path.ends_with("tests.rs"))
        );
    }
}
