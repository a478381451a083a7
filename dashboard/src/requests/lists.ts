/** Where the reader was in the list, for who comes back to it from a request. */

let last = { search: "", offset: 0 };

export function leave(search: string, offset: number): void {
  last = { search, offset };
}

export function leftAt(search: string): number {
  return last.search === search ? last.offset : 0;
}

/** The address of the list as it was seen last. */
export function lastList(): string {
  return last.search ? `/requests?${last.search}` : "/requests";
}
