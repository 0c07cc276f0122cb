import { Injectable, NotFoundException, OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { DataSource } from 'typeorm';
import { has } from '../release.js';
import { Job, JobEvent } from './job.entity.js';

export type NewJob = Pick<Job, 'key' | 'title' | 'amount'> & { customer: string };

@Injectable()
export class JobsService implements OnApplicationShutdown {
  private readonly queue = new Redis({ host: process.env.REDIS_HOST ?? 'redis', maxRetriesPerRequest: 1 });

  constructor(private readonly database: DataSource) {
    this.queue.on('error', (error) => console.warn(`queue: ${error.message}`));
  }

  newest(limit: number): Promise<Job[]> {
    return this.database.getRepository(Job).find({ order: { id: 'DESC' }, take: limit });
  }

  async find(id: number): Promise<object> {
    const job = await this.database.getRepository(Job).findOneBy({ id });
    if (!job) {
      throw new NotFoundException(`there is no job ${id}`);
    }
    if (has('no-customer')) {
      return job;
    }
    return { ...job, events: await this.database.getRepository(JobEvent).findBy({ jobId: id }) };
  }

  /** A key that is there already answers with its job: a client may send a job again. */
  async create(job: NewJob): Promise<{ id: number; key: string }> {
    const id = await this.database.transaction(async (transaction) => {
      const { customer, ...rest } = job;
      const values = has('no-customer') ? rest : job;
      const inserted = await transaction
        .createQueryBuilder().insert().into(Job).values(values).orIgnore().returning('id').execute();
      if (inserted.raw.length === 0) {
        return (await transaction.getRepository(Job).findOneByOrFail({ key: job.key })).id;
      }
      if (!has('no-customer')) {
        await transaction.getRepository(JobEvent).insert({ jobId: inserted.raw[0].id, message: 'queued' });
      }
      return inserted.raw[0].id as number;
    });
    await this.announce(id);
    return { id, key: job.key };
  }

  onApplicationShutdown(): void {
    this.queue.disconnect();
  }

  /** The row is the truth, the queue only wakes a worker: without it the worker finds the row later. */
  private async announce(id: number): Promise<void> {
    try {
      await this.queue.multi().lpush('jobs', id).ltrim('jobs', 0, 99).exec();
    } catch (error) {
      console.warn(`job ${id} was not announced: ${(error as Error).message}`);
    }
  }
}
