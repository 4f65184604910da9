use crate::cli::{
    context::{Context, StreamName},
    failure::Failure,
    http, time,
};
use clap::Args;
use mainstem_chain::StreamRegistry;
use mainstem_model::{Address, Grant, Right, StreamId};
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// Which stream
    stream: StreamName,
    /// An address, or public for everyone
    #[arg(value_parser = parse_user)]
    user: User,
    /// edit, delete, publish, subscribe, grant; everyone can get publish and subscribe only
    #[arg(required = true)]
    permissions: Vec<Right>,
    /// End of publish and subscribe: ISO 8601 with a zone
    #[arg(long, value_name = "TIME", value_parser = time::parse_ms)]
    until: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Which stream
    stream: StreamName,
    /// An address, or public for everyone
    #[arg(value_parser = parse_user)]
    user: User,
    /// edit, delete, publish, subscribe, grant
    #[arg(required = true)]
    permissions: Vec<Right>,
}

/// Somebody, or everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User(Address);

impl User {
    fn text(self) -> String {
        if self.0 == Address::ZERO { "public".to_owned() } else { self.0.to_string() }
    }
}

fn parse_user(text: &str) -> Result<User, String> {
    if text == "public" {
        return Ok(User(Address::ZERO));
    }
    match text.parse() {
        Ok(Address::ZERO) | Err(_) => Err("a user is 0x and 40 hex digits, or public".to_owned()),
        Ok(address) => Ok(User(address)),
    }
}

/// A right that everyone can have, for clap.
pub(super) fn parse_public(text: &str) -> Result<Right, String> {
    match text.parse::<Right>() {
        Ok(right @ (Right::Publish | Right::Subscribe)) => Ok(right),
        Ok(_) | Err(_) => Err("everyone can get publish and subscribe".to_owned()),
    }
}

/// Sets one right: until a Unix second, or not at all. The rights to edit, delete and grant know no time.
pub(super) const fn set(grant: &mut Grant, right: Right, until: Option<u64>) {
    let end = match until {
        Some(end) => end,
        None => 0,
    };
    let flag = match right {
        Right::Subscribe => {
            grant.subscribe_until = end;
            return;
        }
        Right::Publish => {
            grant.publish_until = end;
            return;
        }
        Right::Grant => Grant::GRANT,
        Right::Edit => Grant::EDIT,
        Right::Delete => Grant::DELETE,
    };
    grant.flags = if until.is_some() { grant.flags | flag } else { grant.flags & !flag };
}

/// The second a grant ends.
fn end_of(until: Option<i64>, rights: &[Right], now_ms: i64) -> Result<u64, Failure> {
    let Some(ms) = until else { return Ok(Grant::FOREVER) };
    if let Some(right) = rights.iter().find(|right| !matches!(right, Right::Publish | Right::Subscribe)) {
        let message = format!(
            "the right {} does not end by itself; --until goes with publish and subscribe",
            right.as_str()
        );
        return Err(Failure::usage(message));
    }
    if ms <= now_ms {
        return Err(Failure::usage("--until is in the past"));
    }
    Ok(u64::try_from(ms / 1000).unwrap_or(0).min(Grant::FOREVER))
}

pub(super) async fn grant(args: GrantArgs, context: &Context) -> anyhow::Result<()> {
    let until = end_of(args.until, &args.permissions, time::now_ms())?;
    if args.user.0 == Address::ZERO
        && let Some(right) = args.permissions.iter().find(|right| parse_public(right.as_str()).is_err())
    {
        return Err(Failure::usage(format!("everyone cannot get the right {}", right.as_str())).into());
    }
    change(&args.stream, args.user, &args.permissions, Some(until), context).await
}

pub(super) async fn revoke(args: RevokeArgs, context: &Context) -> anyhow::Result<()> {
    change(&args.stream, args.user, &args.permissions, None, context).await
}

/// Writes what a user may do from now on, whole, as the contract wants it.
async fn change(
    name: &StreamName,
    user: User,
    rights: &[Right],
    until: Option<u64>,
    context: &Context,
) -> anyhow::Result<()> {
    let wallet = context.wallet()?;
    let id = context.resolve(name).await?;
    let registry = context.registry()?;
    existing(&registry, id).await?;
    let changed = |_, mut grant: Grant| {
        rights.iter().for_each(|right| set(&mut grant, *right, until));
        grant
    };
    let written = registry.change(&wallet, id, &[user.0], changed).await?;
    let grant = written.first().map_or(Grant::NONE, |(_, grant)| *grant);
    let now_s = u64::try_from(time::now_ms() / 1000).unwrap_or(0);
    let held: Vec<&str> =
        Right::ALL.into_iter().filter(|right| grant.allows(*right, now_s)).map(Right::as_str).collect();
    let expected = held.clone();
    context
        .settle(&format!("/streams/{id}/permissions/{}", user.text()), |answer| {
            answer.as_ref().is_ok_and(|answer| granted(answer) == expected)
        })
        .await;
    let object = json!({"stream": id.to_string(), "user": user.text(), "permissions": held});
    let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
    Ok(context.out.result(&object, &format!("{} may now: {held}", user.text()))?)
}

async fn existing(registry: &StreamRegistry, id: StreamId) -> anyhow::Result<()> {
    if registry.stream(id).await?.is_none() {
        return Err(super::not_found(id).into());
    }
    Ok(())
}

/// The words in `granted.permissions`, in the contract's order.
fn granted(answer: &Value) -> Vec<&str> {
    let words =
        answer.get("granted").and_then(|granted| granted.get("permissions")).and_then(Value::as_array);
    let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
    Right::ALL.into_iter().map(Right::as_str).filter(|right| words.contains(right)).collect()
}

pub(super) async fn list(name: &StreamName, context: &Context) -> anyhow::Result<()> {
    let id = context.resolve(name).await?;
    let answer = http::get_json(context.http()?, &format!("/streams/{id}/permissions")).await?;
    for entry in answer.get("permissions").and_then(Value::as_array).into_iter().flatten() {
        let user = entry.get("user").and_then(Value::as_str).unwrap_or("public");
        let words = entry.get("permissions").and_then(Value::as_array);
        let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
        let ends = ["publishExpiresAt", "subscribeExpiresAt"]
            .iter()
            .filter_map(|name| Some(format!("  {name} {}", entry.get(name)?.as_str()?)))
            .collect::<String>();
        context.out.result(entry, &format!("{user}  {}{ends}", words.join(", ")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_set_and_taken_one_by_one() {
        let mut grant = Grant::NONE;
        for right in Right::ALL {
            set(&mut grant, right, Some(Grant::FOREVER));
            assert!(grant.allows(right, 1));
        }
        for right in Right::ALL {
            set(&mut grant, right, None);
            assert!(!grant.allows(right, 1));
        }
        assert_eq!(grant, Grant::NONE);
    }

    #[test]
    fn only_reading_and_publishing_end_by_themselves() {
        assert_eq!(end_of(None, &[Right::Edit], 0).unwrap(), Grant::FOREVER);
        assert_eq!(end_of(Some(5000), &[Right::Publish], 0).unwrap(), 5);
        assert!(end_of(Some(5000), &[Right::Publish, Right::Edit], 0).is_err());
        assert!(end_of(Some(5000), &[Right::Publish], 5000).is_err());
    }

    #[test]
    fn users_are_addresses_or_everyone() {
        assert_eq!(parse_user("public"), Ok(User(Address::ZERO)));
        assert!(parse_user(&Address::ZERO.to_string()).is_err());
        assert!(parse_user("bob").is_err());
    }
}
