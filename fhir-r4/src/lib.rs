//! R4 resources for what we send, built with fhir-sdk; nothing of its types crosses this border.
