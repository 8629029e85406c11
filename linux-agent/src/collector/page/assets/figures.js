// The figures of a host in the list, from the last data of its services.

/// The last data of the service that runs one of these plugins, if it succeeded.
function dataOf(host, ...plugins) {
  const service = host.services.find((it) => plugins.includes(it.plugin) && isGood(it.data));
  return service?.data;
}

/// Whether a sample succeeded.
export const isGood = (data) => isObject(data) && (data.status === undefined || data.status === 0);

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/// The items of data by item, each with its fields; none if the data is flat.
export function itemsOf(data) {
  if (!isObject(data) || !isObject(data.data)) return undefined;
  return Object.entries(data.data).filter(([, fields]) => isObject(fields));
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/// The item with the largest value of a field.
function largest(data, field) {
  const items = (itemsOf(data) ?? []).filter(([, fields]) => isNumber(fields[field]));
  return items.reduce((best, [item, fields]) => {
    return best && best.value >= fields[field] ? best : { value: fields[field], item };
  }, undefined);
}

/// Each in per cent or °C, with the item where there are several; undefined where nothing says so.
export function figuresOf(host) {
  return { cpu: cpu(host), memory: memory(host), disk: disk(host), temperature: temperature(host) };
}

function cpu(host) {
  const linux = dataOf(host, "get_linux_cpu");
  if (isNumber(linux?.idle)) return { value: 100 - linux.idle };
  const board = dataOf(host, "get_mcu_load", "get_mcu_tasks");
  return isNumber(board?.load_permille) ? { value: board.load_permille / 10 } : undefined;
}

function memory(host) {
  const linux = dataOf(host, "get_memory_info");
  if (isNumber(linux?.MemUsage_p)) return { value: linux.MemUsage_p };
  const board = dataOf(host, "get_mcu_ram");
  if (!isNumber(board?.total) || !isNumber(board.stack_free) || board.total <= 0) return undefined;
  return { value: (100 * (board.total - board.stack_free)) / board.total };
}

function disk(host) {
  const data = dataOf(host, "get_filesystem");
  const hung = (itemsOf(data) ?? []).find(([, fields]) => fields.hung === 1);
  const fullest = largest(data, "used_p");
  return hung ? { ...fullest, hung: hung[0], item: fullest?.item ?? hung[0] } : fullest;
}

function temperature(host) {
  const sensors = largest(dataOf(host, "get_temperature"), "celsius");
  if (sensors) return sensors;
  const climate = dataOf(host, "get_climate");
  return isNumber(climate?.millicelsius) ? { value: climate.millicelsius / 1000 } : undefined;
}

/// When the host or board was started, as far as its last reports say.
export function startOf(host) {
  const alive = host.services.find((it) => it.plugin === "host_alive_check" && isGood(it.data));
  if (isNumber(alive?.data.uptime) && isNumber(alive.time)) return alive.time - alive.data.uptime;
  // The run of a board begins with the board.
  return host.carried_by === undefined ? undefined : host.run_since;
}

/// Services whose last sample failed, each with what it says.
export function failures(host) {
  return host.services
    .filter((it) => isObject(it.data) && !isGood(it.data))
    .map((it) => ({ name: it.name, error: errorOf(it.data) }));
}

/// Why a sample failed.
export const errorOf = (data) => String(data.error ?? `status ${data.status}`);
