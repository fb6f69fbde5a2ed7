/*
 * The progress of several operations in a row, of which each tells its own work: those to come are taken to be as large as
 * those so far. Rule source: observed progress of qemu-img amend.
 */
import type { ReportWork } from './refcount-width.ts';

export class AmendProgress {
  readonly #report: ReportWork;
  readonly #operations: number;
  #begun = 0;
  /** Work of the operations before this one. */
  #before = 0;
  #work = 0;

  /** `operations`: how many there will be. */
  constructor(operations: number, report: ReportWork) {
    this.#operations = operations;
    this.#report = report;
  }

  /** For the next operation, to tell its work with. */
  next(): ReportWork {
    this.#before += this.#work;
    this.#work = 0;
    this.#begun++;
    return (done, total) => {
      this.#work = total;
      const known = this.#before + total;
      const projected = Math.floor((known * (this.#operations - this.#begun)) / this.#begun);
      this.#report(this.#before + done, known + projected);
    };
  }
}
