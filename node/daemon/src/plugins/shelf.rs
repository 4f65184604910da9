use mainstem_plugin_host::{Capability, Claim, Grants, HttpHost, LoadError, Manifest, PluginId, inspect};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The list of modules, beside them.
const LIST: &str = "plugins.toml";
/// Characters of an id that are enough to name a plugin.
const PREFIX_LEAST: usize = 8;

/// The plugins that are installed in a folder: `<sha256>.wasm` of each, and their list, `plugins.toml`.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    list: List,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default, rename = "plugin")]
    entries: Vec<Entry>,
}

/// A plugin that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// SHA-256 of its module.
    #[serde(with = "text")]
    pub(crate) id: PluginId,
    /// As its manifest says.
    pub(crate) name: String,
    pub(crate) version: String,
    /// Whether the node calls it.
    pub(crate) enabled: bool,
    /// What it was granted.
    pub(crate) capabilities: BTreeSet<String>,
    /// It may speak for Ethereum addresses, and so for every wallet.
    #[serde(default)]
    pub(crate) speaks_for_ethereum: bool,
    /// The servers that it reaches, with `http`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) http_hosts: BTreeSet<HttpHost>,
}

/// Why plugins cannot be installed, found or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ShelfError {
    /// A file.
    #[error("{path} cannot be used: {fault}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        fault: io::Error,
    },
    /// The list is damaged.
    #[error("{path} is no list of plugins: {fault}")]
    List {
        /// Where it is.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// A module is not what it was.
    #[error("the module of plugin {name} in {path} was changed: install it again from a file that you trust")]
    Changed {
        /// Whose.
        name: String,
        /// Where it is.
        path: String,
    },
    /// Nobody has that name.
    #[error("no plugin is called {0:?} here: `mainstem plugin list` shows names and ids")]
    Unknown(String),
    /// Several have that name.
    #[error(
        "{count} plugins are called {name:?}: name one by its id, {PREFIX_LEAST} digits or more (mainstem plugin list)"
    )]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many.
        count: usize,
    },
    /// Another one that is on has the same claim.
    #[error(
        "plugin {name} claims {what}, and so does {other}, which is on: disable that one first (mainstem plugin disable {other})"
    )]
    Claimed {
        /// Which plugin.
        name: String,
        /// What both claim.
        what: String,
        /// Id of the one that has it.
        other: PluginId,
    },
    /// A module that is none.
    #[error(transparent)]
    Module(#[from] LoadError),
    /// It asks for more than was granted.
    #[error(
        "plugin {name} asks for {missing}: grant it with --grant {missing}, or leave it out with --without {missing}"
    )]
    NotGranted {
        /// Which plugin.
        name: String,
        /// What, comma-separated.
        missing: String,
    },
    /// It wants to speak for wallets.
    #[error(
        "plugin {0} wants to speak for Ethereum addresses, so it could publish in the name of every wallet: if you trust it with \
         that, add --speaks-for-ethereum"
    )]
    SpeaksForEthereum(String),
    /// It asks for `http`, and nobody says of whom.
    #[error(
        "plugin {0} asks for http, and no server is named that it may reach: name each with --http-host, or leave http out with --without http"
    )]
    NoHosts(String),
    /// Servers are named, and it has no `http`.
    #[error("plugin {0} has no http, so it reaches no server: leave --http-host out, or grant http")]
    HostsUnasked(String),
}

/// What somebody who installs a plugin says of its wishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// What it gets.
    pub(crate) grant: BTreeSet<Capability>,
    /// What it does not get though it asks for it.
    pub(crate) without: BTreeSet<Capability>,
    /// It may speak for Ethereum addresses.
    pub(crate) speaks_for_ethereum: bool,
    /// The servers that it may reach.
    pub(crate) http_hosts: BTreeSet<HttpHost>,
}

impl Entry {
    /// What the host is to give it. `files` is where plugins have folders of their own, if there is such.
    pub(crate) fn grants(&self, files: Option<&Path>) -> Grants {
        let granted = |capability: &Capability| self.capabilities.contains(capability.name());
        Grants {
            capabilities: Capability::ALL.into_iter().filter(granted).collect(),
            origin_ethereum: self.speaks_for_ethereum,
            http_hosts: self.http_hosts.clone(),
            files: files.map(|files| files.join(self.id.to_string())),
        }
    }
}

impl Shelf {
    /// Reads the list; none is an empty one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, ShelfError> {
        let folder = folder.to_owned();
        let path = folder.join(LIST);
        let list = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| ShelfError::List {
                path: path.display().to_string(),
                fault: error.message().to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => List::default(),
            Err(fault) => return Err(file(&path, fault)),
        };
        Ok(Self { folder, list })
    }

    /// Where compiled modules are kept.
    pub(crate) fn compiled(folder: &Path) -> PathBuf {
        folder.join("compiled")
    }

    /// All that are installed, the first one first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.list.entries
    }

    /// The module of an entry.
    ///
    /// # Errors
    /// It cannot be read, or is another one.
    pub(crate) fn module(&self, entry: &Entry) -> Result<Vec<u8>, ShelfError> {
        let path = self.path(entry.id);
        let module = fs::read(&path).map_err(|fault| file(&path, fault))?;
        if PluginId::of(&module) != entry.id {
            return Err(ShelfError::Changed { name: entry.name.clone(), path: path.display().to_string() });
        }
        Ok(module)
    }

    /// Puts a module on the shelf, switched on. One that is there already gets these grants; others of its name are switched off.
    ///
    /// # Errors
    /// It is no plugin, asks for what was not answered, claims what another one has, or cannot be written.
    pub(crate) fn install(&mut self, module: &[u8], answers: &Answers) -> Result<Entry, ShelfError> {
        let (id, manifest) = inspect(module)?;
        let entry = granted(id, &manifest, answers)?;
        self.check_claim(id, &manifest, true)?;
        for other in &mut self.list.entries {
            other.enabled &= other.name != entry.name;
        }
        fs::create_dir_all(&self.folder).map_err(|fault| file(&self.folder, fault))?;
        write_whole(&self.path(id), module)?;
        match self.list.entries.iter_mut().find(|known| known.id == id) {
            Some(known) => known.clone_from(&entry),
            None => self.list.entries.push(entry.clone()),
        }
        self.save()?;
        Ok(entry)
    }

    /// Switches a plugin on or off, for the next start of the node.
    ///
    /// # Errors
    /// There is none of that name or id, or several; the list cannot be written.
    pub(crate) fn enable(&mut self, name: &str, enabled: bool) -> Result<Entry, ShelfError> {
        let id = self.find(name)?.id;
        if enabled {
            let (_, manifest) = inspect(&self.module(self.find(name)?)?)?;
            self.check_claim(id, &manifest, false)?;
        }
        let mut changed = None;
        for entry in self.list.entries.iter_mut().filter(|entry| entry.id == id) {
            entry.enabled = enabled;
            changed = Some(entry.clone());
        }
        self.save()?;
        changed.ok_or_else(|| ShelfError::Unknown(name.to_owned()))
    }

    /// Whether no other plugin that is on has the same name, signature type or origin type: which counts would be chance, and one could
    /// speak for the other's origins. `replaces`: those of the same name go.
    fn check_claim(&self, id: PluginId, manifest: &Manifest, replaces: bool) -> Result<(), ShelfError> {
        for other in self.list.entries.iter().filter(|other| other.enabled && other.id != id) {
            if replaces && other.name == manifest.name {
                continue;
            }
            let (_, its) = inspect(&self.module(other)?)?;
            if let Some(what) = shared(manifest, &its) {
                let name = manifest.name.clone();
                return Err(ShelfError::Claimed { name, what, other: other.id });
            }
        }
        Ok(())
    }

    /// Takes a plugin away, its module too.
    ///
    /// # Errors
    /// As [`Shelf::enable`].
    pub(crate) fn remove(&mut self, name: &str) -> Result<Entry, ShelfError> {
        let entry = self.find(name)?.clone();
        self.list.entries.retain(|other| other.id != entry.id);
        // The list first: a module that nobody lists does no harm.
        self.save()?;
        let path = self.path(entry.id);
        match fs::remove_file(&path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(file(&path, fault)),
            Ok(()) | Err(_) => Ok(entry),
        }
    }

    /// The plugin of a name, or whose id begins so.
    ///
    /// # Errors
    /// There is none, or several.
    pub(crate) fn find(&self, name: &str) -> Result<&Entry, ShelfError> {
        let is_id = name.len() >= PREFIX_LEAST && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let wanted = |entry: &&Entry| {
            entry.name == name || is_id && entry.id.to_string().starts_with(&name.to_ascii_lowercase())
        };
        let found: Vec<_> = self.list.entries.iter().filter(wanted).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(ShelfError::Unknown(name.to_owned())),
            [..] => Err(ShelfError::Ambiguous { name: name.to_owned(), count: found.len() }),
        }
    }

    fn path(&self, id: PluginId) -> PathBuf {
        self.folder.join(format!("{id}.wasm"))
    }

    fn save(&self) -> Result<(), ShelfError> {
        let path = self.folder.join(LIST);
        let list = |fault: toml::ser::Error| ShelfError::List {
            path: path.display().to_string(),
            fault: fault.to_string(),
        };
        let text = toml::to_string(&self.list).map_err(list)?;
        write_whole(&path, format!("# Written by `mainstem plugin`.\n{text}").as_bytes())
    }
}

/// What two plugins cannot both have.
pub(super) fn shared(one: &Manifest, other: &Manifest) -> Option<String> {
    if one.name == other.name {
        return Some(format!("the name {}", one.name));
    }
    match (&one.claim, &other.claim) {
        (Claim::Signature(one), Claim::Signature(other)) => {
            if one.signature_type == other.signature_type {
                return Some(format!("signature type {}", one.signature_type));
            }
            let both = one.origin_types.iter().find(|kind| other.origin_types.contains(kind))?;
            Some(format!("origin type {both}"))
        }
        (Claim::Encryption(one), Claim::Encryption(other)) => (one.encryption_type == other.encryption_type)
            .then(|| format!("encryption type {}", one.encryption_type)),
        (Claim::Storage(one), Claim::Storage(other)) => {
            (one.scheme == other.scheme).then(|| format!("storage scheme {}", one.scheme))
        }
        (Claim::Signature(_) | Claim::Operators(_) | Claim::Encryption(_) | Claim::Storage(_), _) => None,
    }
}

fn granted(id: PluginId, manifest: &Manifest, answers: &Answers) -> Result<Entry, ShelfError> {
    let name = manifest.name.clone();
    let asked = manifest.capabilities.iter().copied().filter(|it| !answers.without.contains(it));
    // `crypto` is pure: it needs no word.
    let (given, missing): (BTreeSet<_>, BTreeSet<_>) =
        asked.partition(|it| *it == Capability::Crypto || answers.grant.contains(it));
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(Capability::name).collect();
        return Err(ShelfError::NotGranted { name, missing: missing.join(",") });
    }
    let speaks = matches!(&manifest.claim, Claim::Signature(claim) if claim.origin_types.contains(&1));
    if speaks && !answers.speaks_for_ethereum {
        return Err(ShelfError::SpeaksForEthereum(name));
    }
    let has_http = given.contains(&Capability::Http);
    if has_http && answers.http_hosts.is_empty() {
        return Err(ShelfError::NoHosts(name));
    }
    if !has_http && !answers.http_hosts.is_empty() {
        return Err(ShelfError::HostsUnasked(name));
    }
    Ok(Entry {
        id,
        name,
        version: manifest.version.clone(),
        enabled: true,
        capabilities: given.into_iter().map(|it| it.name().to_owned()).collect(),
        speaks_for_ethereum: speaks,
        http_hosts: answers.http_hosts.clone(),
    })
}

/// Writes a file that is there whole or not at all, whatever happens meanwhile.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ShelfError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|fault| file(path, fault))
}

fn file(path: &Path, fault: io::Error) -> ShelfError {
    ShelfError::File { path: path.display().to_string(), fault }
}

/// An id as text.
mod text {
    use super::PluginId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &PluginId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PluginId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage plugin that asks for `http`.
    fn module() -> Vec<u8> {
        let manifest = mainstem_plugin_build::parse(
            r#"
            name = "far"
            version = "0.1.0"
            description = "Keeps records far away"
            abi = "1.1"
            capabilities = ["http"]

            [storage]
            scheme = "far"
            "#,
        );
        mainstem_plugin_build::attach(b"\0asm\x01\0\0\0", &manifest.unwrap()).unwrap()
    }

    #[test]
    fn servers_are_granted_by_name_and_are_in_the_list_that_the_next_start_reads() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| host.parse().unwrap()).collect();
        let grant = BTreeSet::from([Capability::Http]);
        let none = Answers { grant: grant.clone(), ..Answers::default() };
        assert!(matches!(shelf.install(&module(), &none), Err(ShelfError::NoHosts(_))));
        let without =
            Answers { without: grant.clone(), http_hosts: hosts(&["a.example"]), ..Answers::default() };
        assert!(matches!(shelf.install(&module(), &without), Err(ShelfError::HostsUnasked(_))));
        let both = ["a.example", "http://b.lan:9000=private"];
        shelf.install(&module(), &Answers { grant, http_hosts: hosts(&both), ..Answers::default() }).unwrap();
        let read = Shelf::open(folder.path()).unwrap();
        assert_eq!(read.entries()[0].grants(None).http_hosts, hosts(&both));

        let list = folder.path().join(LIST);
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, text.replace("a.example", "a example")).unwrap();
        let error = Shelf::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("names no server"), "{error}");
    }
}
