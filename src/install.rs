//! The binary under the plugins' names, in the folder where runtimes look for them.
//!
//! One copy of the binary, and hard links to it: a runtime that copies the folder gets whole files,
//! whichever way it copies. Everything is prepared beside its place and put there by rename, so that
//! nobody ever sees half a plugin or none, and a plugin that is running is no obstacle.

mod folder;
mod staging;

use std::iter;
use std::path::{Path, PathBuf};

use netup::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::cni::registry::{OWN_NAME, STANDARD_NAMES};
use folder::{Folder, Standing, exists};
use staging::Staging;

/// What to put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The folder.
    pub dir: PathBuf,
    /// Names of plugins; all if none is given.
    pub names: Vec<String>,
    /// Whether files of others make way.
    pub replace: bool,
}

/// What became of each name.
#[derive(Debug, Serialize)]
pub struct Installation {
    /// The folder.
    pub dir: PathBuf,
    /// The binary itself first.
    pub plugins: Vec<Plugin>,
}

/// One name.
#[derive(Debug, Serialize)]
pub struct Plugin {
    /// The name.
    pub name: &'static str,
    /// What became of it.
    pub result: Fate,
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Installed,
    /// An older one of ours was there.
    Updated,
    /// It was there.
    Unchanged,
    /// It is there in place of somebody else's, which is kept.
    Replaced,
    /// It is gone.
    Removed,
    /// It is gone, and what it had replaced is back.
    Restored,
    /// It was not there.
    Absent,
    /// It is somebody else's.
    Foreign,
}

/// Puts this program there. Done once more it changes nothing; failed, it has changed nothing.
pub fn install(order: &Order) -> Result<Installation> {
    let folder = Folder::make(&order.dir)?;
    // All that are ours must be of one release, or a later call would not know them.
    let wanted = |name: &str, standing: Standing| {
        name == OWN_NAME || is_named(order, name) || standing.is_ours()
    };
    let before: Standings = folder
        .standings()?
        .into_iter()
        .filter(|(name, standing)| wanted(name, *standing))
        .collect();
    make_way(&folder, &before, order.replace)?;
    let installed = put_all(&folder, &before);
    folder.tidy();
    let plugins = installed?;
    folder.sync()?;
    Ok(Installation { dir: order.dir.clone(), plugins })
}

/// Takes away what is ours, and puts back what had to make way.
pub fn uninstall(order: &Order) -> Result<Installation> {
    let named = |name: &str| is_named(order, name);
    let Some(folder) = Folder::find(&order.dir)? else {
        let names = iter::once(OWN_NAME).chain(STANDARD_NAMES).filter(|name| named(name));
        let plugins = names.map(|name| Plugin { name, result: Fate::Absent }).collect();
        return Ok(Installation { dir: order.dir.clone(), plugins });
    };
    let before = folder.standings()?.into_iter().filter(|(name, _)| named(name)).collect();
    let plugins = take_all(&folder, before)?;
    folder.tidy();
    folder.sync()?;
    Ok(Installation { dir: order.dir.clone(), plugins })
}

fn is_named(order: &Order, name: &str) -> bool {
    order.names.is_empty() || order.names.iter().any(|named| named == name)
}

type Standings = Vec<(&'static str, Standing)>;

fn put_all(folder: &Folder, before: &Standings) -> Result<Vec<Plugin>> {
    let mut staging = Staging::new(folder.path())?;
    let is_current = folder.is_current()?;
    let binary = match is_current {
        true => folder.at(OWN_NAME),
        false => staging.copy_of_this_program(OWN_NAME)?,
    };
    let mut plugins = Vec::new();
    // The binary itself last: its name still leads to the older one while links to that are there.
    for (name, standing) in before.iter().rev() {
        let stays = *standing == Standing::Link && is_current;
        if !stays {
            put(folder, &mut staging, &binary, name, *standing)?;
        }
        plugins.insert(0, Plugin { name, result: standing.fate_of_install(stays) });
    }
    staging.done()?;
    Ok(plugins)
}

fn take_all(folder: &Folder, before: Standings) -> Result<Vec<Plugin>> {
    let mut staging = Staging::new(folder.path())?;
    let mut plugins = Vec::new();
    for (name, standing) in before.into_iter().rev() {
        plugins.insert(0, Plugin { name, result: take(folder, &mut staging, name, standing)? });
    }
    staging.done()?;
    Ok(plugins)
}

/// Refuses, before anything is changed, what would overwrite somebody else's files.
fn make_way(folder: &Folder, before: &Standings, replace: bool) -> Result<()> {
    let those = |of: Standing| {
        let names = before.iter().filter(|(_, standing)| *standing == of).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    let dir = folder.path().display();
    let folders = those(Standing::Folder);
    if !folders.is_empty() {
        let why = format!("in {dir} these are folders, not plugins: {folders}");
        return Err(Error::new(ErrorKind::PluginExists, why).hint("move them elsewhere"));
    }
    let foreign = those(Standing::Foreign);
    if replace || foreign.is_empty() {
        return Ok(());
    }
    let why = format!("in {dir} these are not netup's: {foreign}");
    Err(Error::new(ErrorKind::PluginExists, why).hint(
        "add --replace to move them into .netup-replaced, from where --uninstall takes them back, \
         or name the plugins that you want by --names",
    ))
}

fn put(
    folder: &Folder,
    staging: &mut Staging,
    binary: &Path,
    name: &str,
    standing: Standing,
) -> Result<()> {
    let place = folder.at(name);
    if standing == Standing::Foreign {
        let aside = staging.link(&place, &format!("{name}.foreign"))?;
        staging.put(&aside, &folder.make_replaced()?.join(name))?;
    }
    let ready = match name {
        OWN_NAME => binary.to_owned(),
        _ => staging.link(binary, name)?,
    };
    staging.put(&ready, &place)
}

fn take(folder: &Folder, staging: &mut Staging, name: &str, standing: Standing) -> Result<Fate> {
    let (place, replaced) = (folder.at(name), folder.replaced(name));
    match standing {
        Standing::Foreign | Standing::Folder => Ok(Fate::Foreign),
        _ if exists(&replaced)? => staging.put(&replaced, &place).map(|()| Fate::Restored),
        Standing::Absent => Ok(Fate::Absent),
        Standing::Link | Standing::Ours => staging.remove(&place).map(|()| Fate::Removed),
    }
}
