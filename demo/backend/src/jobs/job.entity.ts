import { EntitySchema } from 'typeorm';
import { has } from '../release.js';

export interface Job {
  id: number;
  key: string;
  title: string;
  customer?: string;
  customerEmail?: string | null;
  amount: number;
  priority?: number;
  status: 'queued' | 'done' | 'cancelled';
  document: string | null;
  createdAt: Date;
}

export interface JobEvent {
  id: string;
  jobId: number;
  message: string;
  at: Date;
}

/** A release knows only the columns of its own schema: an older one fails on a schema without them. */
export const Job = new EntitySchema<Job>({
  name: 'Job',
  tableName: 'jobs',
  columns: {
    id: { type: 'integer', primary: true, generated: true },
    key: { type: 'text', unique: true },
    title: { type: 'text' },
    amount: { type: 'integer' },
    status: { type: 'text', default: 'queued' },
    document: { type: 'text', nullable: true },
    createdAt: { name: 'created_at', type: 'timestamptz', createDate: true },
    ...(has('no-customer') ? {} : { customer: { type: 'text' } }),
    ...(has('customer-email') ? { customerEmail: { name: 'customer_email', type: 'text', nullable: true } } : {}),
    ...(has('priority') ? { priority: { type: 'integer', default: 0 } } : {}),
  },
});

export const JobEvent = new EntitySchema<JobEvent>({
  name: 'JobEvent',
  tableName: 'job_events',
  columns: {
    id: { type: 'bigint', primary: true, generated: true },
    jobId: { name: 'job_id', type: 'integer' },
    message: { type: 'text' },
    at: { type: 'timestamptz', createDate: true },
  },
});
