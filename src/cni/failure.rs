//! What goes back to the runtime when a call fails, and the one table from causes to codes.

use netup::{Error, ErrorKind};
use serde::Serialize;

use crate::cni::version::Version;

/// A failed call: a code of the specification, or from 100 on one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub code: u32,
    /// What went wrong, in a line.
    pub msg: String,
    /// Operands, or the remedy.
    pub details: String,
}

impl Failure {
    /// The configuration's version is not spoken, or the verb is unknown to it.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A key that is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown; nothing needs to be cleaned up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A variable of the environment is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// A file or stream could not be read or written.
    pub const IO: u32 = 5;
    /// The configuration is no JSON, or has values of the wrong type.
    pub const DECODE: u32 = 6;
    /// The configuration contradicts itself or lacks something.
    pub const CONFIG: u32 = 7;
    /// The container is in the plugin's own namespace.
    pub const OWN_NETNS: u32 = 8;
    /// It may work later.
    pub const TRY_AGAIN: u32 = 11;
    /// The plugin cannot serve an ADD.
    pub const UNAVAILABLE: u32 = 50;
    /// A mistake of this program.
    pub const INTERNAL: u32 = 199;

    /// A failure with this code.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// A wrong environment.
    pub fn environment(msg: impl Into<String>) -> Self {
        Self::new(Self::ENVIRONMENT, msg)
    }

    /// A wrong configuration.
    pub fn config(msg: impl Into<String>) -> Self {
        Self::new(Self::CONFIG, msg)
    }

    /// A configuration that is no JSON or has a value of the wrong type.
    pub fn decode(msg: impl Into<String>) -> Self {
        Self::new(Self::DECODE, msg)
    }

    /// The same failure with operands or a remedy.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

impl Failure {
    /// The document that goes to standard output, in one line.
    pub fn to_json(&self, version: Version) -> String {
        let document = Document {
            cni_version: version.as_str(),
            code: self.code,
            msg: &self.msg,
            details: &self.details,
        };
        // Texts and a number always serialise; an empty document would at least be a failure.
        serde_json::to_string(&document).unwrap_or_default() + "\n"
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    cni_version: &'static str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // What says how to call the command line is no help to a runtime.
        let remedy = error.remedy().filter(|remedy| !remedy.contains("--"));
        Self::new(code(error.kind()), error.message()).details(remedy.unwrap_or_default())
    }
}

/// The one table from the library's kinds of errors to codes.
fn code(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::TargetNotFound => Failure::UNKNOWN_CONTAINER,
        ErrorKind::NotANetns => Failure::ENVIRONMENT,
        ErrorKind::State => Failure::IO,
        ErrorKind::InvalidArgument => Failure::CONFIG,
        ErrorKind::OwnNetns => Failure::OWN_NETNS,
        ErrorKind::PoolExhausted => Failure::TRY_AGAIN,
        ErrorKind::NotPermitted => 100,
        ErrorKind::AttachmentExists => 101,
        ErrorKind::InterfaceExists => 102,
        ErrorKind::AddressInUse => 103,
        ErrorKind::PortInUse => 104,
        ErrorKind::RouteExists => 105,
        ErrorKind::NotABridge => 106,
        ErrorKind::BridgeUnsuitable => 107,
        ErrorKind::MissingTool => 108,
        ErrorKind::MissingFeature => 109,
        ErrorKind::Kernel => 110,
        ErrorKind::Nft => 111,
        ErrorKind::Drifted => 112,
        ErrorKind::AttachmentNotFound => 113,
        _ => 114,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes are what runtimes branch on: they never change.
    #[test]
    fn codes_are_pinned() {
        use ErrorKind::*;
        let table = [
            (TargetNotFound, 3),
            (NotANetns, 4),
            (State, 5),
            (InvalidArgument, 7),
            (OwnNetns, 8),
            (PoolExhausted, 11),
            (NotPermitted, 100),
            (AttachmentExists, 101),
            (InterfaceExists, 102),
            (AddressInUse, 103),
            (PortInUse, 104),
            (RouteExists, 105),
            (NotABridge, 106),
            (BridgeUnsuitable, 107),
            (MissingTool, 108),
            (MissingFeature, 109),
            (Kernel, 110),
            (Nft, 111),
            (Drifted, 112),
            (AttachmentNotFound, 113),
            (Interrupted, 114),
        ];
        for (kind, expected) in table {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn the_document_has_details_only_if_there_are_any() {
        let failure = Failure::config("no \"bridge\"");
        assert_eq!(
            failure.to_json(Version::V0_4_0),
            "{\"cniVersion\":\"0.4.0\",\"code\":7,\"msg\":\"no \\\"bridge\\\"\"}\n"
        );
        assert_eq!(
            failure.details("a\nb").to_json(Version::V1_1_0),
            "{\"cniVersion\":\"1.1.0\",\"code\":7,\"msg\":\"no \\\"bridge\\\"\",\"details\":\"a\\nb\"}\n"
        );
    }

    #[test]
    fn a_library_error_keeps_its_cause_and_its_remedy() {
        let error = Error::invalid("mtu 67 is too small").hint("use 68 or more");
        let failure = Failure::from(error);
        assert_eq!((failure.code, failure.msg.as_str()), (7, "mtu 67 is too small"));
        assert_eq!(failure.details, "use 68 or more");
    }
}
