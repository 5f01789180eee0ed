"""Words of the event context and their IRIs (`specs/event.md`, "Vocabulary").

Events are PROV-O activities and PREMIS 3 events, typed by Library of Congress eventType concepts; CRMdig
names capture and derivation; the project's own namespace holds only what none of them has. The context file
says the same to JSON-LD processors, and a test keeps the two equal.
"""

from __future__ import annotations

from typing import Final

CONTEXT_URL: Final = "https://w3id.org/heritage-ledger/event/v1"
"""Names one immutable context; what it says never changes."""

HERITAGE: Final = "https://w3id.org/heritage-ledger/ns#"
PREMIS: Final = "http://www.loc.gov/premis/rdf/v3/"
PROV: Final = "http://www.w3.org/ns/prov#"
CRMDIG: Final = "http://www.cidoc-crm.org/extensions/crmdig/"
SECURITY: Final = "https://w3id.org/security#"
EVENT_TYPE: Final = "http://id.loc.gov/vocabulary/preservation/eventType/"
EVENT_OUTCOME: Final = "http://id.loc.gov/vocabulary/preservation/eventOutcome/"
AGENT_ROLE: Final = "http://id.loc.gov/vocabulary/preservation/eventRelatedAgentRole/"

IRI_SCHEMES: Final = ("ark", "did", "doi", "hdl", "http", "https", "info", "ipfs", "ni", "pkg", "urn")
"""Schemes of the names in events. None is a term of the context, so none can be read as a prefix."""

GENESIS: Final = ("PreservationEvent", "Genesis", "Activity")
INGESTION: Final = (
    "PreservationEvent",
    "Ingestion",
    "InformationPackageCreation",
    "MessageDigestCalculation",
    "Activity",
)
ADOPTION: Final = ("PreservationEvent", "Ingestion", "Validation", "MessageDigestCalculation", "Activity")
FIXITY_CHECK: Final = ("PreservationEvent", "FixityCheck", "Activity")
PLEDGE: Final = ("PreservationEvent", "Pledge", "Activity")
REPLICATION: Final = ("PreservationEvent", "Replication", "Activity")
RECOVERY: Final = ("PreservationEvent", "Recovery", "Activity")
DISSEMINATION: Final = ("PreservationEvent", "Dissemination", "Activity")

EVENT_TYPE_CODES: Final = {
    "Accession": "acc",
    "Appraisal": "app",
    "Capture": "cap",
    "Compression": "com",
    "Compiling": "cop",
    "Creation": "cre",
    "Deaccession": "dea",
    "Decompression": "dec",
    "Deletion": "del",
    "Decryption": "der",
    "DigitalSignatureValidation": "dig",
    "Dissemination": "dis",
    "DigitalSignatureGeneration": "dsg",
    "Displaying": "dsp",
    "Encryption": "enc",
    "Execution": "exe",
    "Exporting": "exp",
    "Extraction": "ext",
    "ForensicFeatureAnalysis": "ffa",
    "FilenameChange": "fil",
    "FixityCheck": "fix",
    "FormatIdentification": "for",
    "Imaging": "ima",
    "IngestionEnd": "ine",
    "Ingestion": "ing",
    "IngestionStart": "ins",
    "Interpreting": "int",
    "InformationPackageCreation": "ipc",
    "InformationPackageMerging": "ipm",
    "InformationPackageSplitting": "ips",
    "MetadataExtraction": "mee",
    "MetadataModification": "mem",
    "MessageDigestCalculation": "mes",
    "Migration": "mig",
    "Modification": "mod",
    "Normalization": "nor",
    "Packing": "pac",
    "PolicyAssignment": "poa",
    "Printing": "prt",
    "Quarantine": "qua",
    "Unquarantine": "unq",
    "Recovery": "rec",
    "Redaction": "red",
    "Refreshment": "ref",
    "Rendering": "ren",
    "Replication": "rep",
    "Transfer": "tra",
    "Unpacking": "unp",
    "Validation": "val",
    "VirusCheck": "vir",
}
"""Terms of the context for the eventType concepts, revision of 2018, and their codes."""

CRMDIG_TYPES: Final = {
    "DigitizationProcess": "D2_Digitization_Process",
    "FormalDerivation": "D3_Formal_Derivation",
}

OUTCOME_CODES: Final = {"success": "suc", "warning": "war", "failure": "fai"}
ROLE_CODES: Final = {"authorizer": "aut", "implementer": "imp", "executingProgram": "exe"}


def type_iri(term: str) -> str | None:
    """The eventType or CRMdig IRI of an event's type term; None for terms that only say what kind of node.

    >>> type_iri("FixityCheck")
    'http://id.loc.gov/vocabulary/preservation/eventType/fix'
    """
    if term in EVENT_TYPE_CODES:
        return EVENT_TYPE + EVENT_TYPE_CODES[term]
    if term in CRMDIG_TYPES:
        return CRMDIG + CRMDIG_TYPES[term]
    return None


def outcome_iri(term: str) -> str:
    """The eventOutcome concept of `success`, `warning` or `failure`."""
    return EVENT_OUTCOME + OUTCOME_CODES[term]
