//! Every file of `testdata/wire` is a dialogue. `UPDATE_GOLDENS=1` writes them anew; read the
//! difference as prose before you keep it.

use std::path::{Path, PathBuf};

use crate::script::Script;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wire");
    let entries = std::fs::read_dir(&folder).expect("testdata/wire is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(
        files.len() >= 10,
        "the dialogues are in {}",
        folder.display()
    );
    files
}

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let golden = std::fs::read_to_string(&path).expect("a readable dialogue");
        let mut script = Script::new(false);
        script.play(&golden);
        if golden != script.text {
            if update {
                std::fs::write(&path, &script.text).expect("a writable dialogue");
            } else {
                wrong.push(format!("--- {}\n{}", path.display(), script.text));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these went otherwise:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_dialogue_depends_on_how_the_bytes_are_cut() {
    for path in files() {
        let golden = std::fs::read_to_string(&path).expect("a readable dialogue");
        // What is larger than a buffer is delivered in pieces as it comes: cut by definition.
        let (mut whole, mut dribbled) = (Script::new(false), Script::new(true));
        whole.play(&golden);
        dribbled.play(&golden);
        same("up", &whole.all_up, &dribbled.all_up, &path);
        same("to the client", &whole.all_out, &dribbled.all_out, &path);
    }
}

fn same(side: &str, left: &[u8], right: &[u8], path: &Path) {
    let at = left
        .iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count();
    assert!(
        left == right,
        "{side}, {}: {} and {} bytes, different from {at} on",
        path.display(),
        left.len(),
        right.len()
    );
}
