// I2C0 of the RP2040 with two sensors on it. The controller of rp2040js is the right one but for its interrupts,
// which cannot be let in, for time, which no transfer takes, and for a read behind a write.

import { I2CMode, RPI2C } from "rp2040js";

const IC_INTR_MASK = 0x30;
const IC_TX_TL = 0x3c;
const IC_ENABLE = 0x6c;
const BYTE_NANOS = 9 * 1e4; // at 100 kHz

export class Bus extends RPI2C {
  // `sensors` by their addresses.
  constructor(rp2040, name, irq, sensors) {
    super(rp2040, name, irq);
    this.sensors = sensors;
    const alarm = rp2040.clock.createAlarm(() => this.next());
    const after = (next) => {
      this.next = next;
      alarm.schedule(BYTE_NANOS);
    };
    const begin = (isRead) => {
      this.isRead = isRead;
      return this.sensor?.begin(isRead, rp2040.clock.nanos) ?? false;
    };
    const readByte = () => {
      // A sensor that holds the clock lets nothing go on.
      if (!this.sensor.holds) after(() => this.completeRead(this.sensor.read()));
    };
    this.onConnect = (address, mode) => {
      this.sensor = this.sensors.get(address);
      after(() => this.completeConnect(begin(mode === I2CMode.Read)));
    };
    this.onWriteByte = (byte) => after(() => this.completeWrite(this.sensor.write(byte)));
    this.onReadByte = () => {
      if (this.isRead) return readByte();
      // After a byte that was written the controller begins anew of itself.
      after(() => (begin(true) ? readByte() : this.completeConnect(false)));
    };
  }

  readUint32(offset) {
    return offset === IC_TX_TL ? this.txThreshold : super.readUint32(offset);
  }

  writeUint32(offset, value) {
    if (offset === IC_INTR_MASK) {
      this.intEnable = value;
      this.checkInterrupts();
    } else if (offset === IC_TX_TL) {
      this.txThreshold = value & 0xff;
    } else {
      super.writeUint32(offset, value);
    }
    // To disable it ends what it is at.
    if (offset === IC_ENABLE && !(value & 1)) {
      this.next = () => {};
      this.state = 0;
      this.busy = this.stop = this.pendingRestart = false;
    }
  }
}

// An SHTC3 (data sheet, 5): each value is two bytes with their checksum.
export class Shtc3 {
  constructor() {
    Object.assign(this, { celsius: 23.73, humidity: 62.9, measureNanos: 0.8e6 });
    Object.assign(this, { absent: false, holds: false, damaged: false });
    this.readyNanos = Infinity;
  }

  // False if it does not acknowledge its address.
  begin(isRead, nanos) {
    this.nanos = nanos;
    this.written = [];
    // It acknowledges no read until it has measured.
    if (this.absent || (isRead && nanos < this.readyNanos)) return false;
    const celsius = Math.round(((this.celsius + 45) / 175) * 65536);
    const humidity = Math.round((this.humidity / 100) * 65536);
    this.answer = [...word(celsius), ...word(humidity)];
    if (this.damaged) this.answer[2] ^= 1;
    return true;
  }

  write(byte) {
    this.written.push(byte);
    const isMeasure = this.written.length === 2 && this.written[0] === 0x60 && this.written[1] === 0x9c;
    if (isMeasure) this.readyNanos = this.nanos + this.measureNanos;
    return true;
  }

  read() {
    this.readyNanos = Infinity;
    return this.answer.shift() ?? 0xff;
  }
}

// An INA219 (data sheet, 8.6) over a shunt of 100 mΩ.
export class Ina219 {
  constructor() {
    Object.assign(this, { volts: 5.02, amperes: 0.043, absent: false, holds: false });
  }

  begin(isRead) {
    if (this.absent) return false;
    if (isRead) {
      const shunt = Math.round(this.amperes * 0.1 * 1e5) & 0xffff;
      const value = { 1: shunt, 2: (Math.floor((this.volts * 1000) / 4) << 3) | 2 }[this.register] ?? 0;
      this.answer = [value >> 8, value & 0xff];
    } else {
      this.register = undefined;
    }
    return true;
  }

  write(byte) {
    this.register ??= byte;
    return true;
  }

  read() {
    return this.answer.shift() ?? 0xff;
  }
}

function word(value) {
  const bytes = [Math.min(value, 0xffff) >> 8, Math.min(value, 0xffff) & 0xff];
  let crc = 0xff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x80 ? 0x131 : 0);
  }
  return [...bytes, crc];
}
