/* The option -T of every program. */
import type { Reporter } from './report.ts';

/** `help` asks for the list, and is all that is done then. */
export function isTraceHelp(trace: string): boolean {
  return trace.split(',').some((word) => word === 'help' || word === '?');
}

/** Trace points are followed inside the process by name; a pattern that names none is told, and the run goes on. */
export function warnAboutTrace(report: Reporter, trace: string): void {
  for (const word of trace.split(',')) {
    const pattern = word.startsWith('enable=') ? word.slice('enable='.length) : word;
    if (pattern === '' || pattern.startsWith('events=') || pattern.startsWith('file=') || pattern.includes('*')) continue;
    report.warning(`trace event '${pattern}' does not exist`);
  }
}
