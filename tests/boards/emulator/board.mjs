// A Raspberry Pi Pico: rp2040js, an image in its flash, and what rp2040js needs to run an image as it is.

import { readFileSync } from "node:fs";
import { GPIOPinState, RP2040 } from "rp2040js";

import { bootRom, connectFlash } from "./flash.mjs";
import { Bus, Ina219, Shtc3 } from "./i2c.mjs";
import { Uart } from "./uart.mjs";
import { UsbHost } from "./usb.mjs";

const FLASH = 0x10000000;
const FLASH_BYTES = 2 * 1024 * 1024;
const SRAM = 0x20000000;
const SRAM_BYTES = 264 * 1024;
const BOOT_ROM_BYTES = 16 * 1024;
const HARD_FAULT = 3;
const SLEEP_FOR_EVER = [0xbf30, 0xe7fd]; // wfi; b to it
const VECTORS = 0x10000100;
const RESET_REGISTERS = 0x40064;
const CHIP_RESET = 0x08;
const HAD_POWER_ON_RESET = 1 << 8;
const UART0 = 0x40034;
const UART0_IRQ = 20;
const SSI = 0x18000;
const XIP_CONTROL = 0x14000;
const I2C0 = 0x40044;
const I2C0_IRQ = 23;
const LAMP = 25;
const TEMPERATURE_CHANNEL = 4;
const CYCLE_NANOS = 8; // 125 MHz, which is what embassy-rp sets

export class Board {
  // `image` is what `readImage` gives, `link` is "uart" or "usb". `onByte` is called with every byte that the
  // board sends, `onReset` when its watchdog has reset it.
  constructor(image, link, { onByte, onReset = () => {} }, uniqueId = "e66138528335a72f") {
    this.uniqueId = Buffer.from(uniqueId, "hex");
    this.image = image;
    this.link = link;
    this.onByte = onByte;
    this.onReset = onReset;
    this.celsius = 27;
    this.sensors = { climate: new Shtc3(), supply: new Ina219() };
    this.blinks = []; // when the lamp was lit
    this.endedNanos = 0;
    this.power();
  }

  // Simulated time since power came.
  get nanos() {
    return this.endedNanos + this.chip.clock.nanos;
  }

  // Nanoseconds until the board has something to do; 0 if it is awake.
  get sleepNanos() {
    if (!this.chip.core.waiting || (pending(this.chip.core) && !this.lockedUp)) return 0;
    return this.chip.clock.nextAlarm ? this.chip.clock.nanosToNextAlarm : Infinity;
  }

  // Runs until `nanos`, or until `stop` says so.
  runUntil(nanos, stop = () => false) {
    while (this.nanos < nanos && !stop()) {
      const { core, clock } = this.chip;
      const ahead = nanos - this.nanos;
      if (!core.waiting) {
        // Several at once, since to look around takes as long as an instruction.
        for (let left = 32; left > 0 && !core.waiting && !this.resetDue; left--) {
          const at = core.PC;
          clock.tick(core.executeInstruction() * CYCLE_NANOS);
          if (this.faulted || !isCode(core.PC)) this.fault(at);
        }
      } else if (pending(core) && !this.lockedUp) {
        // rp2040js falls asleep over what is pending already.
        core.waiting = false;
        core.interruptsUpdated = true;
      } else {
        // At least a nanosecond: less is lost in rounding, and time would stand still.
        clock.tick(Math.max(1, Math.min(this.sleepNanos, ahead)));
      }
      if (this.resetDue) this.reset();
    }
  }

  // Bytes that the board has not taken yet.
  get backlog() {
    return this.port.backlog;
  }

  // Sends bytes to the board.
  send(bytes) {
    this.port.send(bytes);
  }

  // What the sensor of the chip measures from now on (RP2040 datasheet, 4.9.5).
  setTemperature(celsius) {
    this.celsius = celsius;
    const volts = 0.706 - (celsius - 27) * 0.001721;
    this.chip.adc.channelValues[TEMPERATURE_CHANNEL] = Math.round((volts / 3.3) * 4096);
  }

  // The main program goes round in a circle from now on; interrupts do not.
  hang() {
    const { core, sram } = this.chip;
    const loop = SRAM + sram.length / 2; // where neither static data nor the stack is
    SLEEP_FOR_EVER.forEach((opcode, index) => this.chip.writeUint16(loop + 2 * index, opcode));
    core.PC = loop;
    core.PM = false;
    core.waiting = false;
  }

  // Power comes; a short gap of it may leave RAM as it was.
  power(ram = new Uint8Array(SRAM_BYTES)) {
    this.endedNanos = this.chip ? this.nanos : 0;
    this.boot(0, [], ram);
  }

  // A hard fault at the instruction at `at`, or where it has jumped to; one within its handler locks the core up.
  fault(at) {
    const { core } = this.chip;
    if (core.IPSR === HARD_FAULT) {
      core.waiting = true;
      core.checkForInterrupts = () => false;
      this.lockedUp = true;
    } else {
      if (this.faulted) core.PC = at;
      core.exceptionEntry(HARD_FAULT);
    }
    // What the entry itself could not put on the stack is lost.
    this.faulted = false;
  }

  // What the watchdog does: all starts anew but its own registers.
  reset() {
    const { reason, scratchData } = this.chip.peripherals[0x40058];
    this.endedNanos = this.nanos;
    this.boot(reason, scratchData, this.chip.sram);
    this.onReset();
  }

  boot(reason, scratch, sram) {
    const chip = new RP2040();
    this.faulted = this.lockedUp = false;
    chip.logger = {
      debug() {},
      info() {},
      // rp2040js goes on where the core has a fault.
      warn: (_, message) => {
        if (/(Read from invalid memory|Write to undefined) address/.test(message)) this.faulted = true;
      },
      error() {},
    };
    const write = chip.writeUint32.bind(chip);
    chip.writeUint32 = (address, value) => {
      if (address >>> 0 < BOOT_ROM_BYTES) this.faulted = true;
      else write(address, value);
    };
    chip.sram.set(sram);
    chip.bootrom.set(bootRom.words);
    // The cache of the flash has nothing to do.
    chip.peripherals[XIP_CONTROL] = { readUint32: () => 0, writeUint32Atomic() {} };
    connectFlash(chip.peripherals[SSI], this.uniqueId);
    for (const { address, bytes } of this.image) chip.flash.set(bytes, address - FLASH);
    // There is no boot ROM, and boot2 has nothing to set up here.
    chip.core.VTOR = VECTORS;
    chip.core.reset();
    sleepAsTheCoreDoes(chip.core);

    // rp2040js reads 1 in all bits of registers that it does not have.
    const resetRegisters = chip.peripherals[RESET_REGISTERS];
    resetRegisters.readUint32 = (offset) => (offset === CHIP_RESET ? HAD_POWER_ON_RESET : 0);
    resetRegisters.writeUint32 = () => {};

    const watchdog = chip.peripherals[0x40058];
    watchdog.reason = reason;
    watchdog.scratchData.set(scratch);
    this.resetDue = false;
    watchdog.onWatchdogTrigger = () => {
      this.resetDue = true;
      // Else it fires for ever at this instant.
      watchdog.timer.enable = false;
    };
    const onByte = (byte) => this.onByte(byte);
    const uart = new Uart(chip, "UART0", UART0_IRQ, this.link === "uart" ? onByte : () => {});
    chip.peripherals[UART0] = uart;
    this.port = this.link === "uart" ? uart : new UsbHost(chip, onByte);
    const { climate, supply } = this.sensors;
    const addresses = new Map([[0x70, climate], [0x40, supply]]);
    chip.peripherals[I2C0] = new Bus(chip, "I2C0", I2C0_IRQ, addresses);
    chip.gpio[LAMP].addListener((state) => {
      if (state === GPIOPinState.High) this.blinks.push(this.nanos / 1e6);
    });
    this.chip = chip;
    this.setTemperature(this.celsius);
  }
}

// The segments of an ELF file that go into flash.
export function readImage(path) {
  const file = readFileSync(path);
  const isElf = file.length >= 52 && file.readUInt32BE(0) === 0x7f454c46 && file[4] === 1;
  if (!isElf) throw new Error(`${path} is no 32-bit ELF file.`);
  const image = [];
  const [start, size, count] = [file.readUInt32LE(28), file.readUInt16LE(42), file.readUInt16LE(44)];
  for (let header = start; header < start + size * count; header += size) {
    const [type, offset, , address, bytes] = [0, 4, 8, 12, 16].map((at) => file.readUInt32LE(header + at));
    const isLoad = type === 1 && bytes > 0;
    if (isLoad && address >= FLASH && address + bytes <= FLASH + FLASH_BYTES) {
      image.push({ address, bytes: file.subarray(offset, offset + bytes) });
    }
  }
  if (image.length === 0) throw new Error(`${path} has nothing for the flash of a Pico.`);
  return image;
}

function isCode(address) {
  const isIn = (start, bytes) => address >= start && address < start + bytes;
  return isIn(FLASH, FLASH_BYTES) || isIn(SRAM, SRAM_BYTES) || isIn(bootRom.code, bootRom.codeBytes);
}

// rp2040js takes interrupts out of a masked sleep at once, so that their time is lost for a firmware which
// stamps the end of its sleep. The core itself wakes, and takes them when they are let in.
function sleepAsTheCoreDoes(core) {
  const take = core.checkForInterrupts.bind(core);
  core.checkForInterrupts = () => (core.waiting ? pending(core) : take());
}

function pending(core) {
  const interrupts = core.pendingInterrupts & core.enabledInterrupts;
  return interrupts !== 0 || core.pendingSystick || core.pendingPendSV || core.pendingNMI;
}
