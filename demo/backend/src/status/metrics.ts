import type { NextFunction, Request, Response } from 'express';
import { release } from '../release.js';

const requests = new Map<number, number>();
let seconds = 0;

export function countRequest(request: Request, response: Response, next: NextFunction): void {
  const started = performance.now();
  response.on('finish', () => {
    requests.set(response.statusCode, (requests.get(response.statusCode) ?? 0) + 1);
    seconds += (performance.now() - started) / 1000;
  });
  next();
}

/** Prometheus text format. */
export function metrics(): string {
  const total = [...requests.values()].reduce((sum, count) => sum + count, 0);
  return [
    '# HELP schedgen_build_info The running release.',
    '# TYPE schedgen_build_info gauge',
    `schedgen_build_info{version="${release.version}"} 1`,
    '# HELP http_requests_total Requests answered, by status.',
    '# TYPE http_requests_total counter',
    ...[...requests].map(([status, count]) => `http_requests_total{status="${status}"} ${count}`),
    '# HELP http_request_duration_seconds Time to answer a request.',
    '# TYPE http_request_duration_seconds summary',
    `http_request_duration_seconds_sum ${seconds.toFixed(6)}`,
    `http_request_duration_seconds_count ${total}`,
    '',
  ].join('\n');
}
