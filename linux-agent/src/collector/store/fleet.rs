//! Hosts that have enrolled with a code for a group, and that no file of the settings names.

use rusqlite::{Connection, params};

use crate::client_name::ClientName;

/// Each with its group, in the order in which they enrolled.
pub fn read(connection: &Connection) -> rusqlite::Result<Vec<(ClientName, String)>> {
    let mut statement =
        connection.prepare("SELECT client, for_group FROM fleet ORDER BY enrolled_ms, client")?;
    let mut rows = statement.query([])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        let client: String = row.get(0)?;
        hosts.push((ClientName::from_text(&client), row.get(1)?));
    }
    Ok(hosts)
}

/// Adds one. `false`: it is there already.
pub fn add(
    connection: &Connection,
    client: &ClientName,
    group: &str,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let added = connection.execute(
        "INSERT INTO fleet (client, for_group, enrolled_ms) VALUES (?1, ?2, ?3)
            ON CONFLICT DO NOTHING",
        params![client.to_string(), group, now_ms],
    )?;
    Ok(added > 0)
}

/// Whether it is there.
pub fn has(connection: &Connection, client: &ClientName) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM fleet WHERE client = ?1)";
    connection.query_row(sql, [client.to_string()], |row| row.get(0))
}

/// Takes it away, so that it can enrol anew.
pub fn remove(connection: &Connection, client: &ClientName) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM fleet WHERE client = ?1", [client.to_string()])?;
    Ok(())
}
