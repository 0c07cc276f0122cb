import type { NextFunction, Request, Response } from 'express';
import type { DataSource } from 'typeorm';
import { broken } from './release.js';

const SLOW_MS = 2500;

/** The faults of the bad releases that requests feel. The health endpoint feels only its own. */
export function injectFaults(request: Request, response: Response, next: NextFunction): void {
  const api = request.originalUrl.startsWith('/api');
  if (api && broken('http-500')) {
    response.status(500).json({ message: "Cannot read properties of undefined (reading 'schedule')" });
  } else if (api && broken('slow')) {
    setTimeout(next, SLOW_MS);
  } else if (request.originalUrl.startsWith('/health') && broken('never-healthy')) {
    response.status(503).json({ status: 'starting' });
  } else {
    next();
  }
}

/** A well-meant "clean-up" at start that rewrites rows wrongly, while everything stays healthy. */
export async function corruptData(dataSource: DataSource): Promise<void> {
  if (broken('corruption')) {
    await dataSource.query("UPDATE jobs SET amount = amount * 100, title = 'untitled' WHERE id % 2 = 0");
    await dataSource.query('DELETE FROM job_events WHERE job_id % 10 = 0');
  }
}
