//! What a manifest says, for people and for programs.

use mainstem_plugin_host::{Claim, Manifest, PluginId};
use serde_json::{Value, json};

pub(super) fn object(id: PluginId, of: &Manifest) -> Value {
    let claim = match &of.claim {
        Claim::Signature(claim) => json!({"signature": {
            "type": claim.signature_type,
            "originTypes": claim.origin_types,
            "signs": claim.signs,
        }}),
        Claim::Operators(claims) => {
            let names: Vec<_> = claims.iter().map(|claim| &claim.name).collect();
            json!({ "operators": names })
        }
        Claim::Encryption(claim) => json!({"encryption": {
            "type": claim.encryption_type,
            "keyBytes": claim.key_bytes,
            "wraps": claim.wraps,
        }}),
        Claim::Storage(claim) => {
            let names: Vec<_> = claim.parameters.iter().map(|parameter| &parameter.name).collect();
            json!({"storage": { "scheme": claim.scheme, "parameters": names }})
        }
    };
    json!({
        "id": id.to_string(),
        "name": of.name,
        "version": of.version,
        "description": of.description,
        "abi": of.abi.to_string(),
        "claim": claim,
        "capabilities": of.capabilities.iter().map(|it| it.name()).collect::<Vec<_>>(),
        "limits": {
            "memoryBytes": of.limits.memory_bytes,
            "fuel": of.limits.fuel,
            "deadlineMs": of.limits.deadline_ms,
        },
    })
}

/// IMPORTANT: a stranger may have written it; nothing of it steers the terminal, as a manifest with control characters is none.
pub(super) fn text(id: PluginId, of: &Manifest) -> String {
    let capabilities: Vec<_> = of.capabilities.iter().map(|it| it.name()).collect();
    let mut lines = vec![
        format!("{} {}: {}", of.name, of.version, of.description),
        format!("id            {id}"),
        format!("ABI           {}", of.abi),
    ];
    match &of.claim {
        Claim::Signature(claim) => {
            let origins: Vec<_> = claim.origin_types.iter().map(u8::to_string).collect();
            let signs = if claim.signs { ", signs too" } else { "" };
            lines.push(format!(
                "signatures    of type {}, for origin types {}{signs}",
                claim.signature_type,
                origins.join(", ")
            ));
        }
        Claim::Operators(claims) => {
            lines.extend(
                claims.iter().map(|claim| format!("operator      {}: {}", claim.name, claim.description)),
            );
        }
        Claim::Encryption(claim) => {
            let wraps = if claim.wraps { ", wraps keys too" } else { "" };
            let (kind, bytes) = (claim.encryption_type, claim.key_bytes);
            lines.push(format!("encryption    of type {kind}, with keys of {bytes} bytes{wraps}"));
        }
        Claim::Storage(claim) => lines.push(format!("storage       {}", claim.scheme)),
    }
    let asks = if capabilities.is_empty() { "nothing".to_owned() } else { capabilities.join(", ") };
    lines.push(format!("asks for      {asks}"));
    let wish = |number: u64, unit: &str| {
        if number == 0 { "the default".to_owned() } else { format!("{number} {unit}") }
    };
    lines.push(format!(
        "wishes for    memory {}, fuel {}, time {}",
        wish(of.limits.memory_bytes, "bytes"),
        wish(of.limits.fuel, ""),
        wish(of.limits.deadline_ms.into(), "ms")
    ));
    lines.join("\n")
}
