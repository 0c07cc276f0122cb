import { BadRequestException, Body, Controller, Get, Param, ParseIntPipe, Post, Query } from '@nestjs/common';
import type { Job } from './job.entity.js';
import { JobsService, type NewJob } from './jobs.service.js';

@Controller('api/jobs')
export class JobsController {
  constructor(private readonly jobs: JobsService) {}

  @Get()
  list(@Query('limit') limit = '20'): Promise<Job[]> {
    return this.jobs.newest(Math.min(Math.max(Number(limit) || 20, 1), 100));
  }

  @Get(':id')
  find(@Param('id', ParseIntPipe) id: number): Promise<object> {
    return this.jobs.find(id);
  }

  @Post()
  create(@Body() job?: Partial<NewJob>): Promise<{ id: number; key: string }> {
    if (!job?.key || !job.title) {
      throw new BadRequestException('key and title are needed');
    }
    return this.jobs.create({ customer: 'unknown', amount: 0, ...job, key: job.key, title: job.title });
  }
}
