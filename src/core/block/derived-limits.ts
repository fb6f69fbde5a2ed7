/*
 * Limits of a node that follow from those of the nodes below. They are asked for with every request, and are made anew only
 * when one of these has others by now.
 */
import type { Child } from './child.ts';
import type { Limits } from './driver.ts';

export class DerivedLimits {
  readonly #children: readonly Child[];
  readonly #derive: (below: readonly Limits[]) => Limits;
  #below: Limits[] = [];
  #made: Limits | undefined;

  /** `derive` gets the limits below in the order of `children`. */
  constructor(children: readonly Child[], derive: (below: readonly Limits[]) => Limits) {
    this.#children = children;
    this.#derive = derive;
  }

  get value(): Limits {
    let made = this.#made;
    for (let index = 0; made !== undefined && index < this.#children.length; index++) {
      if (this.#children[index]?.node.limits !== this.#below[index]) made = undefined;
    }
    if (made === undefined) {
      this.#below = this.#children.map(({ node }) => node.limits);
      made = this.#derive(this.#below);
      this.#made = made;
    }
    return made;
  }
}

/** The same over one child. */
export function limitsOver(child: Child, derive: (below: Limits) => Limits): DerivedLimits {
  return new DerivedLimits([child], ([below = child.node.limits]) => derive(below));
}
