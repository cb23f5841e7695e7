//! Script of a task. It replaces itself by the program, which then receives Slurm's signals and
//! sets the task's exit code.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::error::{Error, Result};
use crate::exec::BAD_PLACE;

/// Returns a script that reads an optional set-up file and then executes `program` with these
/// arguments and the task's index. Every path is quoted.
///
/// # Errors
/// When a path cannot be written in a script.
pub fn script(setup: Option<&Path>, program: &Path, arguments: &[OsString]) -> Result<Vec<u8>> {
    let mut text = b"#!/bin/bash\n".to_vec();
    if let Some(setup) = setup {
        text.extend(b". ");
        text.extend(quoted(setup.as_os_str())?);
        text.extend(format!(" || exit {BAD_PLACE}\n").as_bytes());
    }
    text.extend(b"exec ");
    text.extend(quoted(program.as_os_str())?);
    for argument in arguments {
        text.push(b' ');
        text.extend(quoted(argument)?);
    }
    text.extend(b" --index \"$SLURM_ARRAY_TASK_ID\"\n");
    Ok(text)
}

fn quoted(word: &OsStr) -> Result<Vec<u8>> {
    let quoted = shlex::bytes::try_quote(word.as_encoded_bytes());
    let quoted = quoted.map_err(|_| Error::Usage(format!("{word:?} cannot be quoted in a shell script")))?;
    Ok(quoted.into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::stand_ins::write_program;
    use super::*;

    /// A shell that runs the script must pass every word on unchanged.
    #[test]
    fn no_path_is_read_by_the_shell() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in
            ["plain", "a b", "it's \"quoted\"", "$(touch pwned)`touch pwned`", "a\nb;touch pwned", "-n", "%j\\*?~!#"]
        {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).expect("a folder");
            let setup = place.join("set up.sh");
            std::fs::write(&setup, "export FROM_SETUP=yes\n").expect("a file");
            let program = place.join("program");
            write_program(&program, "#!/bin/sh\nprintf '%s\\0' \"$FROM_SETUP\" \"$@\"\n");
            let arguments = ["--run".into(), place.clone().into_os_string()];
            let text = script(Some(&setup), &program, &arguments).expect("a script");
            let path = folder.path().join("task.sh");
            std::fs::write(&path, text).expect("a file");
            let mut bash = std::process::Command::new("bash");
            let output = bash.arg(&path).env("SLURM_ARRAY_TASK_ID", "5").current_dir(folder.path()).output();
            let said = output.expect("bash").stdout;
            let expected = format!("yes\0--run\0{}\0--index\x005\0", place.display());
            assert_eq!(String::from_utf8_lossy(&said), expected);
            assert!(!folder.path().join("pwned").exists());
        }
    }

    #[test]
    fn a_setup_that_fails_is_a_bad_place() {
        let text = script(Some(Path::new("/nowhere/setup")), Path::new("/bin/true"), &[]).expect("a script");
        let status = std::process::Command::new("bash").arg("-c").arg(String::from_utf8_lossy(&text).as_ref()).status();
        assert_eq!(status.expect("bash").code(), Some(i32::from(BAD_PLACE)));
    }
}
