//! `cert dev`: certificates for one's own machine, from an authority of one's own.
//!
//! The authority lies where data of this user does (XDG Base Directory Specification), is made when it is needed first,
//! and nobody trusts it but who is told to: the system's list of authorities is not touched.

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, Subcommand};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use switchboard_net::Error;
use switchboard_net::sys::clock;
use switchboard_net::tls::Authority;

/// Days of a certificate that browsers still believe (those of authorities that were added by hand).
const DAYS: u32 = 365;
/// The longest time that is written into a certificate.
const MOST_DAYS: i64 = 3650;

const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca-key.pem";

/// Makes certificates for development
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Dev(Dev),
}

/// Makes a certificate and its key for names of this machine, issued by an authority of your own
///
/// The authority is made the first time, in $XDG_DATA_HOME/switchboard (or ~/.local/share/switchboard), and used again
/// after that. Nobody trusts it but who is told to: `connect --ca`, `curl --cacert` and so on. Who has its key can pass
/// for anybody with those who trust it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
struct Dev {
    /// Names and addresses: localhost, example.test, *.example.test, 127.0.0.1, ::1; for clients also user@example.test
    #[arg(value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,

    /// Where the certificate and its key are written, as NAME.pem and NAME-key.pem
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,

    /// How long the certificate is good
    #[arg(long, value_name = "DAYS", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=MOST_DAYS))]
    days: u32,

    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  switchboard cert dev
  switchboard cert dev example.test '*.example.test' 127.0.0.1 --dir certificates --days 30
  switchboard cert dev me@example.test --force";

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let Verb::Dev(dev) = &arguments.verb;
    match dev.make(out) {
        Ok(()) => Exit::Ok,
        Err(error @ Error::Config(_)) => {
            out.talk(&error);
            Exit::Usage
        }
        Err(error) => {
            out.talk(&error);
            Exit::Failed
        }
    }
}

impl Dev {
    fn make(&self, out: &mut Output) -> Result<(), Error> {
        let now = clock::realtime().0;
        let home = data_home()?;
        let (authority, is_new) = authority(&home, now)?;
        let made = authority.certify(&self.names, now, self.days)?;
        let stem = stem(&self.names[0]);
        let certificate = self.dir.join(format!("{stem}.pem"));
        let key = self.dir.join(format!("{stem}-key.pem"));
        for file in [&certificate, &key].into_iter().filter(|_| !self.force) {
            if file.symlink_metadata().is_ok() {
                return Err(Error::Config(format!(
                    "{} is there already; --force replaces it",
                    file.display()
                )));
            }
        }
        DirBuilder::new()
            .recursive(true)
            .create(&self.dir)
            .map_err(|error| failed("make", &self.dir, error))?;
        write(&key, &made.key, 0o600)?;
        write(&certificate, &made.certificate, 0o644)?;
        let ca = home.join(AUTHORITY);
        let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
        let age = if is_new { "made now" } else { "made earlier" };
        let name =
            self.names.iter().find(|name| !name.contains(['*', '@', '/'])).map_or("localhost", |name| name);
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        out.line(format_args!(
            "certificate  {certificate}  for {}, {} days",
            self.names.join(", "),
            self.days
        ));
        out.line(format_args!("key          {key}"));
        out.line(format_args!("authority    {ca}  {age}"));
        out.line("");
        out.line(format_args!(
            "serve with    switchboard serve echo --listen tls:{name}:7443 --cert {certificate} --key {key}"
        ));
        out.line(format_args!("connect with  switchboard connect tls:{name}:7443 --ca {ca}"));
        out.line(format_args!("              curl --cacert {ca} …"));
        Ok(())
    }
}

/// The folder of what this program keeps for this user.
fn data_home() -> Result<PathBuf, Error> {
    // A relative path is to be ignored (XDG Base Directory Specification).
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    home.map(|home| home.join("switchboard"))
        .ok_or_else(|| Error::Config("where to keep the authority? Set HOME or XDG_DATA_HOME".into()))
}

/// The authority of this user, and whether it is a new one.
fn authority(home: &Path, now_unix_s: i64) -> Result<(Authority, bool), Error> {
    let (certificate, key) = (home.join(AUTHORITY), home.join(AUTHORITY_KEY));
    let read = |path: &Path| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    };
    match (read(&certificate)?, read(&key)?) {
        (Some(own), Some(secret)) => {
            let authority = Authority::read(&own, &secret).map_err(|error| {
                Error::Config(format!("{}: {error}; remove it for a new one", home.display()))
            })?;
            Ok((authority, false))
        }
        (None, None) => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(home)
                .map_err(|error| failed("make", home, error))?;
            let whose = std::env::var("USER").unwrap_or_else(|_| "this machine".into());
            let (authority, made) = Authority::make(&whose.replace(char::is_control, "?"), now_unix_s)?;
            write(&key, &made.key, 0o600)?;
            write(&certificate, &made.certificate, 0o644)?;
            Ok((authority, true))
        }
        (own, _) => {
            let (there, missing) = if own.is_some() { (&certificate, &key) } else { (&key, &certificate) };
            Err(Error::Config(format!(
                "{} is there and {} is not: remove the one, or find the other",
                there.display(),
                missing.display()
            )))
        }
    }
}

/// A name as that of a file.
fn stem(name: &str) -> String {
    let stem = name.replace("*.", "_wildcard.").replace("://", "-").replace([':', '/'], "-");
    stem.trim_start_matches(['-', '.']).to_owned()
}

/// Writes a file that is whole or not there, with this mode from its first moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(name);
    let write = || {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        failed("write", path, error)
    })
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::system(format!("{what} {}", path.display()), error)
}
